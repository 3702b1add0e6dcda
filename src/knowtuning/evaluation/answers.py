"""Scores of single answers: one record per question and system, the ground of every average.

A score that an answer does not define (the order of fewer than two facts, the share of correct facts
where none is stated) is null in the record, leaves the mean, and is visible in that mean's `<name>_n`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field

from knowtuning.records import SYSTEMS, Example, Prediction, Record, System, read_jsonl

Verdict = Literal["correct", "incorrect", "unparsed", "duplicate"]
Groups = dict[str, str]


class Verification(Protocol):
    """What a fact verifier counts in one answer; see knowtuning.world.verifier."""

    @property
    def correct(self) -> int: ...
    @property
    def incorrect(self) -> int: ...
    @property
    def unparsed(self) -> int: ...
    @property
    def duplicate(self) -> int: ...
    @property
    def asked(self) -> int: ...
    @property
    def covered(self) -> int: ...
    @property
    def concordant(self) -> int: ...
    @property
    def pairs(self) -> int: ...
    @property
    def sentences(self) -> tuple[tuple[str, Verdict], ...]: ...


class Verifier(Protocol):
    """A ground truth that judges answers."""

    def verify(self, example: Example, answer: str) -> Verification: ...


class Sentence(BaseModel):
    """A sentence of an answer with its verdict."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    text: str
    verdict: Verdict


class Scores(Record):
    """All scores of one system's answer to one question; `id` is "<question>/<system>".

    groups: the question's strata, such as kind and stratum. scores: counts, or rates in 0..100; null
    where the answer does not define one. sentences: verdicts, where a ground truth exists.
    """

    question: str
    system: System
    groups: Groups
    scores: dict[str, float | None]
    sentences: list[Sentence] = Field(default_factory=list)


def read_predictions(folder: Path, examples: Sequence[Example]) -> dict[System, list[Prediction]]:
    """The answers of every system, in the order of `examples`.

    Raises ValueError where a system answers other questions than these, or another wording of them.
    """
    wanted = {example.id: example.question for example in examples}
    return {system: _aligned(folder / f"{system}.jsonl", wanted) for system in SYSTEMS}


def _aligned(path: Path, wanted: Mapping[str, str]) -> list[Prediction]:
    """The predictions of a file in the order of the questions `wanted` (id -> text)."""
    found = {prediction.id: prediction for prediction in read_jsonl(path, Prediction)}
    if wanted.keys() != found.keys():
        odd = min(wanted.keys() ^ found.keys())
        raise ValueError(
            f"{path}: found {len(found)} answers, expected one to each of {len(wanted)} questions "
            f"({odd!r} is {'not answered' if odd in wanted else 'not asked'}); run predict again"
        )
    for key, question in wanted.items():
        if found[key].question != question:
            raise ValueError(
                f"{path}: {key}: found the question {found[key].question!r}, expected {question!r}; "
                "run predict again"
            )
    return [found[key] for key in wanted]


def score_answers(
    examples: Sequence[Example],
    predictions: Sequence[Prediction],
    *,
    system: System,
    lexical: Mapping[str, Sequence[float]],
    truth: Verifier | None,
) -> list[Scores]:
    """Scores of a system's answers; `lexical` holds one value per answer and metric, 0..100."""
    rows = []
    for index, (example, prediction) in enumerate(zip(examples, predictions, strict=True)):
        checked = truth.verify(example, prediction.answer) if truth else None
        scores = fact_scores(example, checked) if checked else {}
        scores |= {name: values[index] for name, values in lexical.items()}
        scores |= {
            "words": float(len(prediction.answer.split())),
            "truncated": 100.0 * prediction.truncated,
        }
        said = [Sentence(text=text, verdict=v) for text, v in checked.sentences] if checked else []
        rows.append(
            Scores(
                id=f"{example.id}/{system}",
                question=example.id,
                system=system,
                groups=groups_of(example),
                scores={name: None if v is None else round(v, 4) for name, v in scores.items()},
                sentences=said,
            )
        )
    return rows


def groups_of(example: Example) -> Groups:
    """The strata of a question that its source names."""
    return {key: str(example.meta[key]) for key in ("kind", "stratum") if key in example.meta}


def fact_scores(example: Example, found: Verification) -> dict[str, float | None]:
    """Counts of facts, and rates in 0..100, of one verified answer.

    percent_correct: correct of the facts stated (correct and incorrect). completeness: of the facts
    asked for, those stated correctly. order: concordant of all pairs of facts. Raises ValueError where
    nothing is asked.
    """
    if found.asked < 1:
        raise ValueError(f"{example.id}: the question asks for no fact; expected at least one attribute")
    return {
        "correct": float(found.correct),
        "incorrect": float(found.incorrect),
        "unparsed": float(found.unparsed),
        "duplicate": float(found.duplicate),
        "percent_correct": _percent(found.correct, found.correct + found.incorrect),
        "completeness": _percent(found.covered, found.asked),
        "order": _percent(found.concordant, found.pairs),
    }


def _percent(part: int, whole: int) -> float | None:
    """A share in 0..100, None where there is nothing to share."""
    return 100.0 * part / whole if whole else None
