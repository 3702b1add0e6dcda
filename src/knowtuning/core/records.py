"""The records that stages exchange, and their JSONL files (one record a line, sorted by id)."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from knowtuning.core.storage import atomic_write

Aspect = Literal["completeness", "factuality", "logicality"]
ASPECTS: tuple[Aspect, ...] = ("completeness", "factuality", "logicality")
System = Literal["base", "sft", "ka", "kc"]
SYSTEMS: tuple[System, ...] = ("base", "sft", "ka", "kc")


class Record(BaseModel):
    """Base of all records: immutable, strictly typed, no unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    id: str


class Example(Record):
    """A question with its reference answer. `meta` holds source facts (world: entity, kind, attributes)."""

    question: str
    answer: str
    meta: dict[str, Any] = {}


class Atoms(Record):
    """An example whose answer is split into atomic facts, in the order of the answer."""

    question: str
    answer: str
    facts: list[str]


class FactScore(BaseModel):
    """Perplexity of one fact given its question under the base model.

    logps: summed log-probability of the fact's tokens, nats. tokens: their number (0 never occurs).
    ppl: exp(-logps / tokens). recalled: whether the base model completes the fact correctly when it
    is cued; null where no ground truth exists.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    text: str
    logps: float
    tokens: int
    ppl: float
    recalled: bool | None = None


class Scored(Record):
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


class Preference(Record):
    """A preference pair made from the example `source`: `rejected` lacks one aspect of knowledge."""

    source: str
    aspect: Aspect
    question: str
    chosen: str
    rejected: str


class Prediction(Record):
    """A system's answer. tokens: number generated; truncated: the token limit came before EOS."""

    question: str
    answer: str
    tokens: int
    truncated: bool


class Rejected(Record):
    """A row that could not be used, why, and the row itself (for the person who mends it)."""

    reason: str
    raw: Any


R = TypeVar("R", bound=Record)


def dumps(record: Record) -> str:
    """One JSON line, fields in the order of their declaration, non-ASCII characters kept."""
    return json.dumps(record.model_dump(), ensure_ascii=False, allow_nan=False)


def iter_jsonl(path: Path, kind: type[R]) -> Iterator[R]:
    """Stream the records of a file. Raises ValueError naming file, line and field on a bad line."""
    with path.open(encoding="utf-8") as stream:
        for number, line in enumerate(stream, start=1):
            try:
                yield kind.model_validate_json(line)
            except ValidationError as error:
                first = error.errors()[0]
                where = ".".join(str(part) for part in first["loc"]) or "line"
                raise ValueError(
                    f"{path}:{number}: {where}: {first['msg']}; expected a {kind.__name__} record"
                ) from error


def read_jsonl(path: Path, kind: type[R]) -> list[R]:
    """All records of a file, in file order."""
    return list(iter_jsonl(path, kind))


def write_jsonl(path: Path, records: Iterable[R]) -> int:
    """Write records sorted by id, atomically; returns their number. Raises ValueError on a double id."""
    rows = sorted(records, key=lambda record: record.id)
    for before, after in itertools.pairwise(rows):
        if before.id == after.id:
            raise ValueError(f"{path}: two records have the id {after.id!r}; ids must be unique")
    with atomic_write(path) as stream:
        for row in rows:
            stream.write(dumps(row) + "\n")
    return len(rows)


def rejected_path(path: Path) -> Path:
    """Where the unusable rows of an output go: train.jsonl -> train.rejected.jsonl."""
    return path.with_suffix(".rejected.jsonl")


def check_rejected(rejected: Sequence[Rejected], total: int, limit: float, *, where: Path, key: str) -> None:
    """Raise ValueError, naming the first row, when more than the fraction `limit` (0..1) of `total` were
    rejected.

    `where` is the file that holds the rejected rows, `key` the params key of the limit.
    """
    if len(rejected) > limit * total:
        raise ValueError(
            f"{len(rejected)} of {total} rows were rejected, {key} allows {limit:g} of them; see the reasons "
            f"in {where}, mend the rows or raise {key}; the first is {rejected[0].id}: {rejected[0].reason}"
        )
