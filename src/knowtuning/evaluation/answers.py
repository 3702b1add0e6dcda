"""Scores of single answers: one record per question and system, the ground of every average.

A score that an answer does not define (the order of fewer than two facts, the share of correct facts
where none is stated) is null in the record, leaves the mean, and is visible in that mean's `<name>_n`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field

from knowtuning.core.records import SYSTEMS, Example, Prediction, Record, System, read_jsonl

# unparsed: the world's verifier cannot read it; unverifiable: the reference answer leaves it open;
# duplicate: true and said before; unscored: no usable verdict came.
Verdict = Literal["correct", "incorrect", "unparsed", "duplicate", "unverifiable", "unscored"]
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
    """A sentence of an answer, or a fact extracted from it, with its verdict."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    text: str
    verdict: Verdict


class Scores(Record):
    """All scores of one system's answer to one question; `id` is "<question>/<system>".

    groups: the question's strata, such as kind and stratum. scores: counts, or rates in 0..100; null
    where the answer does not define one. sentences: verdicts, where facts are verified. unscored: why facts
    or recall of this answer have no verdict, one reason a step that failed.
    """

    question: str
    system: System
    groups: Groups
    scores: dict[str, float | None]
    sentences: list[Sentence] = Field(default_factory=list)
    unscored: list[str] = Field(default_factory=list)


@dataclass(frozen=True)
class Checked:
    """What verification says about one answer; the fields are those of Scores."""

    scores: dict[str, float | None]
    sentences: list[Sentence]
    unscored: list[str]


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
    checked: Sequence[Checked] | None = None,
) -> list[Scores]:
    """Scores of a system's answers; `lexical` holds one value per answer and metric, 0..100.

    truth: verifies the facts of every answer. checked: what has verified them in its place.
    """
    if checked is None and truth is not None:
        checked = [_check(e, p.answer, truth) for e, p in zip(examples, predictions, strict=True)]
    rows = []
    for index, (example, prediction) in enumerate(zip(examples, predictions, strict=True)):
        found = checked[index] if checked is not None else Checked({}, [], [])
        scores = found.scores | {name: values[index] for name, values in lexical.items()}
        scores |= {
            "words": float(len(prediction.answer.split())),
            "truncated": 100.0 * prediction.truncated,
        }
        rows.append(
            Scores(
                id=f"{example.id}/{system}",
                question=example.id,
                system=system,
                groups=groups_of(example),
                scores={name: None if v is None else round(v, 4) for name, v in scores.items()},
                sentences=found.sentences,
                unscored=found.unscored,
            )
        )
    return rows


def _check(example: Example, answer: str, truth: Verifier) -> Checked:
    found = truth.verify(example, answer)
    said = [Sentence(text=text, verdict=verdict) for text, verdict in found.sentences]
    return Checked(fact_scores(example, found), said, [])


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
        "percent_correct": percent(found.correct, found.correct + found.incorrect),
        "completeness": percent(found.covered, found.asked),
        "order": percent(found.concordant, found.pairs),
    }


def percent(part: int, whole: int) -> float | None:
    """A share in 0..100, None where there is nothing to share."""
    return 100.0 * part / whole if whole else None
