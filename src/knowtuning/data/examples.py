"""From raw rows to examples: each row becomes an example or is rejected with a reason."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from knowtuning.core.records import Example, Rejected
from knowtuning.data.normalise import normalise, question_id
from knowtuning.data.rows import RawRow, type_name

# Why a row is unusable: these count against prepare.max_rejected ...
BAD = ("malformed", "missing_value", "not_text", "empty_question", "empty_answer", "empty_id")
# ... and these do not: an answer the source withholds, a question it repeats, a question of an
# evaluation split.
EXPECTED = ("without_answer", "duplicate", "leaked")

_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class Columns:
    """The columns that hold question, context, answer, id, and what goes to `meta`.

    withheld: the source is known to leave answers out, so a missing one is not a fault.
    """

    question: str
    answer: str
    context: str | None = None
    id: str | None = None
    meta: tuple[str, ...] = ()
    withheld: bool = False

    def names(self) -> list[str]:
        """Every column named, once."""
        return list(dict.fromkeys(c for c in (self.question, self.context, self.answer, self.id) if c))


@dataclass(frozen=True)
class Row:
    """An example and the place it came from."""

    where: str
    example: Example


@dataclass(frozen=True)
class Reject:
    """A row that is left out. kind: one of BAD or EXPECTED. reason: field, what was found, expected."""

    where: str
    kind: str
    reason: str
    raw: Any

    def record(self) -> Rejected:
        """The record for the rejected file; its id is the place of the row."""
        return Rejected(id=self.where, reason=f"{self.kind}: {self.reason}", raw=_writable(self.raw))


class _BadValueError(ValueError):
    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind


def to_example(raw: RawRow, columns: Columns) -> Row | Reject:
    """Map, check and normalise a row; the first fault found is the reason of a rejection."""
    try:
        return Row(raw.where, _example(raw.values, columns))
    except _BadValueError as error:
        return Reject(raw.where, error.kind, str(error), raw.values)


def _example(values: Any, columns: Columns) -> Example:
    if not isinstance(values, dict):
        found = f"{len(values)} cells" if isinstance(values, list) else type_name(values)
        raise _BadValueError("malformed", f"found {found}, expected a value for each column")
    question = _required(values, columns.question, "empty_question")
    if columns.context and values.get(columns.context) is not None:
        context = _text(values, columns.context)
        question = f"{question}\n{context}" if context else question
    answer = _answer(values, columns)
    return Example(
        id=_id(values, columns.id) if columns.id else question_id(question),
        question=question,
        answer=answer,
        meta={name: _text(values, name) for name in columns.meta},
    )


def _answer(values: dict[str, Any], columns: Columns) -> str:
    if columns.withheld and values.get(columns.answer) is None:
        raise _BadValueError("without_answer", "the source has no answer to this question")
    return _required(values, columns.answer, "without_answer" if columns.withheld else "empty_answer")


def _text(values: dict[str, Any], column: str) -> str:
    """The normalised text of a column."""
    value = values.get(column)
    if value is None:
        found = "null" if column in values else "no such column in this row"
        raise _BadValueError("missing_value", f"{column}: found {found}, expected text")
    if not isinstance(value, str):
        raise _BadValueError("not_text", f"{column}: found {type_name(value)}, expected text")
    if _SURROGATE.search(value):
        raise _BadValueError("not_text", f"{column}: found half a surrogate pair, expected valid Unicode")
    return normalise(value)


def _required(values: dict[str, Any], column: str, kind: str) -> str:
    text = _text(values, column)
    if not text:
        raise _BadValueError(kind, f"{column}: found no visible character, expected text")
    return text


def _id(values: dict[str, Any], column: str) -> str:
    """The id; a whole number is taken as its decimal digits, which loses nothing."""
    value = values.get(column)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return _required(values, column, "empty_id")


def _writable(value: Any) -> Any:
    """`value` where JSON in UTF-8 can hold it, else its ASCII description."""
    try:
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode("utf-8")
    except (TypeError, ValueError):
        return ascii(value)
    return value
