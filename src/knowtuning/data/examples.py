"""From raw rows to examples: each row becomes an example or is rejected with a reason."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, replace
from typing import Any

from knowtuning.core.records import Example, Rejected
from knowtuning.data.chat import WAY, chat_column, exchange
from knowtuning.data.normalise import normalise, placeholder, question_id, visible
from knowtuning.data.readers import RawRow, type_name

# Why a row is unusable: these count against prepare.max_rejected ...
BAD = ("malformed", "missing_value", "not_text", "bad_turns", "empty_question", "empty_answer", "empty_id")
# ... and these do not: an answer the source withholds, a type of question, a kind of boilerplate or a length
# of answers that params.yaml leaves out, a question that is repeated, a question of an evaluation split.
EXPECTED = ("without_answer", "other_type", "dropped", "too_long", "duplicate", "leaked")

_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class Columns:
    """The columns that hold question, context, answer, id, and what goes to `meta`.

    withheld: the source is known to leave answers out, so a missing one is not a fault. optional: a question
    without an answer is an example too, whose answer is empty.
    """

    question: str
    answer: str
    context: str | None = None
    id: str | None = None
    meta: tuple[str, ...] = ()
    withheld: bool = False
    optional: bool = False

    def names(self) -> list[str]:
        """Every column that the source must have, once, that of the question first."""
        named = (self.question, self.id) if self.optional else self._all()
        return list(dict.fromkeys(filter(None, named)))

    def unused(self, values: dict[str, Any]) -> list[str]:
        """The columns of a row that hold something and are not read."""
        chat = chat_column(values, self.question)
        used = {chat, self.id} if chat else {*self._all(), *self.meta}
        return [
            name
            for name, value in values.items()
            if name not in used and not (_missing(value) or value in ("", [], {}))
        ]

    def _all(self) -> tuple[str | None, ...]:
        return self.question, self.context, self.answer, self.id


@dataclass(frozen=True)
class SourceRow:
    """An example and the place it came from.

    blank: the column and the mark that counted as no text, such as `input <noinput>`; empty where none did.
    """

    where: str
    example: Example
    blank: str = ""


@dataclass(frozen=True)
class Reject:
    """A row that is left out. kind: one of BAD or EXPECTED. reason: field, what was found, expected."""

    where: str
    kind: str
    reason: str
    raw: Any
    blank: str = ""  # as in SourceRow

    def record(self) -> Rejected:
        """The record for the rejected file; its id is the place of the row."""
        return Rejected(id=self.where, reason=f"{self.kind}: {self.reason}", raw=_writable(self.raw))


class _BadValueError(ValueError):
    def __init__(self, kind: str, reason: str, blank: str = "") -> None:
        super().__init__(reason)
        self.kind = kind
        self.blank = blank


def to_example(raw: RawRow, columns: Columns) -> SourceRow | Reject:
    """Map, check and normalise a row; the first fault found is the reason of a rejection."""
    try:
        return _row(raw, columns)
    except _BadValueError as error:
        return Reject(raw.where, error.kind, str(error), raw.values, error.blank)


def _row(raw: RawRow, columns: Columns) -> SourceRow:
    values = raw.values
    if not isinstance(values, dict):
        what = f"{len(values)} cells" if isinstance(values, list) else type_name(values)
        raise _BadValueError("malformed", f"found {what}, expected a value for each column")
    chat = chat_column(values, columns.question)
    asked = _chat(values[chat], chat, columns) if chat else _asked(values, columns)
    example = Example(
        id=_id(values, columns.id) if columns.id else question_id(asked.question),
        question=asked.question,
        answer=asked.answer,
        meta={name: _text(values, name) for name in columns.meta},
    )
    return SourceRow(raw.where, example, asked.blank)


@dataclass(frozen=True)
class _Asked:
    question: str
    answer: str
    blank: str


def _asked(values: dict[str, Any], columns: Columns) -> _Asked:
    """Question with context, and answer, from a column each."""
    question = _required(values, columns.question, "empty_question")
    blank = ""
    if columns.context:
        context, blank = _filled(values, columns.context)
        question = f"{question}\n{context}" if context else question
    if columns.optional:
        answer, mark = _filled(values, columns.answer)
        return _Asked(question, answer, mark or blank)
    return _Asked(question, _answer(values, columns), blank)


def _chat(value: Any, column: str, columns: Columns) -> _Asked:
    """Question with context, and answer, from the turns of a conversation."""
    try:
        last = exchange(value)
    except ValueError as error:
        raise _BadValueError("bad_turns", f"{column}: {error}") from error
    turns = {f"{column}, last user turn": last.question, f"{column}, last assistant turn": last.answer}
    question, answer = turns
    read = _asked(turns, replace(columns, question=question, answer=answer, context=None))
    return replace(read, question=_whole(last.asked, column))


def _answer(values: dict[str, Any], columns: Columns) -> str:
    if columns.withheld and values.get(columns.answer) is None:
        raise _BadValueError("without_answer", "the source has no answer to this question")
    return _required(values, columns.answer, "without_answer" if columns.withheld else "empty_answer")


def _missing(value: Any) -> bool:
    """Null, or the NaN that tables of numbers write for it."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def _text(values: dict[str, Any], column: str) -> str:
    """The normalised text of a column."""
    value = values.get(column)
    if _missing(value):
        what = ("null" if value is None else "NaN") if column in values else "no such column in this row"
        raise _BadValueError("missing_value", f"{column}: found {what}, expected text")
    if not isinstance(value, str):
        turns = isinstance(value, list) and any(isinstance(turn, dict) for turn in value)
        way = f" ({WAY})" if turns else ""
        raise _BadValueError("not_text", f"{column}: found {type_name(value)}, expected text{way}")
    return normalise(_whole(value, column))


def _whole(text: str, column: str) -> str:
    if _SURROGATE.search(text):
        raise _BadValueError("not_text", f"{column}: found half a surrogate pair, expected valid Unicode")
    return text


def _required(values: dict[str, Any], column: str, kind: str) -> str:
    text = _text(values, column)
    if not visible(text):
        raise _BadValueError(kind, f"{column}: found no visible character, expected text")
    if placeholder(text):
        raise _BadValueError(kind, f"{column}: found {text!r}, which stands for no text", f"{column} {text}")
    return text


def _filled(values: dict[str, Any], column: str) -> tuple[str, str]:
    """The text of a column, empty where it has none, and the mark that stood for none (see SourceRow)."""
    if _missing(values.get(column)):
        return "", ""
    text = _text(values, column)
    if placeholder(text):
        return "", f"{column} {text}"
    return (text if visible(text) else ""), ""


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
