"""The records that stages exchange, and their JSONL files (one record a line, sorted by id)."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from knowtuning.core.storage import atomic_write, open_text


class RecordPart(BaseModel):
    """Base of records and of what stands in them: immutable, strictly typed, no unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Record(RecordPart):
    """Base of all records."""

    id: str


class Example(Record):
    """A question with its reference answer, which is empty only in a further test set (`prepare.tests`).

    `meta` holds source facts (world: entity, kind, attributes).
    """

    question: str
    answer: str
    meta: dict[str, Any] = {}


class Facts(Record):
    """An example whose answer is split into atomic facts, in the order of the answer."""

    question: str
    answer: str
    facts: list[str]


class FactScore(RecordPart):
    """Perplexity of one fact given its question under the base model.

    logps: summed log-probability of the fact's tokens, nats. tokens: their number (0 never occurs).
    ppl: exp(-logps / tokens). recalled: whether the base model completes the fact correctly when it
    is cued; null where no ground truth exists.
    """

    text: str
    logps: float
    tokens: int
    ppl: float
    recalled: bool | None = None


class ScoredFacts(Record):
    """An example whose facts carry their perplexity, in the order of the answer."""

    question: str
    answer: str
    facts: list[FactScore]


class Rewrite(Record):
    """A question and answer rewritten around the difficult facts of the example `source`."""

    source: str
    question: str
    answer: str
    facts: list[str]


class Pair(Record):
    """A preference pair made from the example `source`: `rejected` is worse in one aspect of knowledge.

    aspect: a name of knowledge/aspects.py, or what else a baseline's pairs differ in. offset: by how much the
    reward of chosen is to lead that of rejected (losses.py); not written where it is 0.
    """

    source: str
    aspect: str
    question: str
    chosen: str
    rejected: str
    offset: float = Field(default=0.0, ge=0, exclude_if=lambda value: value == 0)


class Prediction(Record):
    """A system's answer. tokens: number generated; truncated: the token limit came before EOS."""

    question: str
    answer: str
    tokens: int
    truncated: bool


class Sample(Record):
    """An answer sampled from a system to the training question `source`; `id` is "<question>/<number>".

    number: from 0. tokens: those generated. logps: summed log-probability of them, and of the end of the
    answer where it has one, at temperature 1, nats. truncated: the token limit came before EOS.
    """

    source: str
    number: int
    question: str
    answer: str
    tokens: int
    logps: float
    truncated: bool


class FactConfidence(Record):
    """How sure the base model is of what the fact `text` is about, by its answers to a question for it.

    source: the training question whose samples state it. opening: the words that every answer began with.
    answers: how often each answer came, bin by bin, under the first of the bin. confidence: share (0..1) of
    the largest bin.
    """

    source: str
    text: str
    question: str
    opening: str
    answers: dict[str, int]
    confidence: float


# unparsed: the world's verifier cannot read it; unverifiable: the reference answer leaves it open;
# duplicate: true and stated before; unscored: no usable verdict came.
Verdict = Literal["correct", "incorrect", "unparsed", "duplicate", "unverifiable", "unscored"]


class Evidence(RecordPart):
    """A passage of the knowledge source that a verdict could rest on. score: by BM25, higher is closer."""

    title: str
    score: float


class Sentence(RecordPart):
    """A sentence of an answer, or a fact extracted from it, with its verdict.

    evidence: passages retrieved for it, closest first; not written where there are none.
    """

    text: str
    verdict: Verdict
    evidence: list[Evidence] = Field(default_factory=list, exclude_if=lambda value: not value)


class Verified(Record):
    """What a verifier says about the facts of one answer; `id` is "<question>/<system>".

    scores: counts, or rates in 0..100; null where the answer does not define one; empty where nobody
    verified. sentences: the verdicts. unscored: why facts or recall of this answer have no verdict, one
    reason a step that failed.
    """

    question: str
    system: str
    scores: dict[str, float | None]
    sentences: list[Sentence] = Field(default_factory=list)
    unscored: list[str] = Field(default_factory=list)


class Probed(Record):
    """What the probe says of one system on one question; `id` is "<question>/<system>".

    scores: by the names of evaluation/metrics.py, 0..100; null where the question has no pair of that kind.
    """

    question: str
    system: str
    scores: dict[str, float | None]


class Judgement(Record):
    """How the answers of systems a and b to a question compare in one aspect, seen from a.

    `id` is "<question>/<a>-<b>/<aspect>". forward: the verdict with a's answer shown first; backward: with
    b's. Both null: not asked, because the answers are equal, a tie. reason: why a verdict is missing.
    """

    question: str
    a: str
    b: str
    aspect: str
    forward: Literal["a", "b", "tie"] | None
    backward: Literal["a", "b", "tie"] | None
    outcome: Literal["win", "lose", "tie", "unjudged"]
    reason: str | None


class Scores(Record):
    """All scores of one system's answer to one question; `id` is "<question>/<system>".

    groups: the question's strata, such as kind and stratum. scores: those of `Verified` and the text
    metrics, by the names of evaluation/metrics.py.
    """

    question: str
    system: str
    groups: dict[str, str]
    scores: dict[str, float | None]
    sentences: list[Sentence] = Field(default_factory=list)
    unscored: list[str] = Field(default_factory=list)


class Rejected(Record):
    """A row that could not be used, why, and the row itself (for the person who mends it).

    left_out: the teacher does not do such rows; nothing is to be mended, and they do not count as rejected.
    """

    reason: str
    raw: Any
    left_out: bool = False


R = TypeVar("R", bound=Record)
T = TypeVar("T")


def dumps(record: Record) -> str:
    """One JSON line, fields in the order of their declaration, non-ASCII characters kept."""
    return json.dumps(record.model_dump(), ensure_ascii=False, allow_nan=False)


def parsed(line: str, validate: Callable[[str], T], where: str, expected: str) -> T:
    """What a line of a file holds. Raises ValueError with the place, the field and what was expected."""
    try:
        return validate(line)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"])) or "line"
        raise ValueError(f"{where}: {field}: {first['msg']}; {expected}") from error


def iter_jsonl(path: Path, kind: type[R]) -> Iterator[R]:
    """Stream the records of a file. Raises ValueError naming file, line and field on a bad line."""
    with open_text(path) as stream:
        for number, line in enumerate(stream, start=1):
            expected = f"expected a {kind.__name__} record"
            yield parsed(line, kind.model_validate_json, f"{path}:{number}", expected)


def read_jsonl(path: Path, kind: type[R]) -> list[R]:
    """All records of a file, in file order."""
    return list(iter_jsonl(path, kind))


def write_jsonl(path: Path, records: Iterable[R]) -> None:
    """Write records sorted by id, atomically. Raises ValueError on a double id."""
    rows = sorted(records, key=lambda record: record.id)
    for before, after in itertools.pairwise(rows):
        if before.id == after.id:
            raise ValueError(f"{path}: two records have the id {after.id!r}; ids must be unique")
    with atomic_write(path) as stream:
        for row in rows:
            stream.write(dumps(row) + "\n")


def read_predictions(
    folder: Path, systems: Iterable[str], examples: Sequence[Example]
) -> dict[str, list[Prediction]]:
    """The answers of every system (`<system>.jsonl` in `folder`), in the order of `examples`.

    Raises ValueError where a system answers other questions than these, or another wording of them.
    """
    questions = {example.id: example.question for example in examples}
    answers = {}
    for system in systems:
        path = folder / f"{system}.jsonl"
        predictions = {prediction.id: prediction for prediction in read_jsonl(path, Prediction)}
        if questions.keys() != predictions.keys():
            odd = min(questions.keys() ^ predictions.keys())
            why = "not answered" if odd in questions else "not asked"
            raise ValueError(
                f"{path}: found {len(predictions)} answers, expected one to each of {len(questions)} "
                f"questions ({odd!r} is {why}); run predict again"
            )
        for key, question in questions.items():
            if predictions[key].question != question:
                raise ValueError(
                    f"{path}: {key}: found the question {predictions[key].question!r}, expected "
                    f"{question!r}; run predict again"
                )
        answers[system] = [predictions[key] for key in questions]
    return answers


def rejected_path(path: Path) -> Path:
    """Where the unusable rows of an output go: train.jsonl -> train.rejected.jsonl."""
    return path.with_suffix(".rejected.jsonl")


def check_rejected(rejected: Sequence[Rejected], total: int, limit: float, *, where: Path, key: str) -> None:
    """Raise ValueError, naming the first row, when more than the share `limit` (0..1) of `total` is rejected.

    where: the file that holds the rejected rows. key: the params key of the limit.
    """
    if len(rejected) > limit * total:
        raise ValueError(
            f"{len(rejected)} of {total} rows were rejected, {key} allows {limit:g} of them; see the reasons "
            f"in {where}, mend the rows or raise {key}; the first is {rejected[0].id}: {rejected[0].reason}"
        )
