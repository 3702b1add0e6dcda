"""Reading what a model says: the JSON object in its final answer, mended where its meaning is plain.

A thought is no answer: neither a draft inside one nor one that never ends. Mended without another call are
backslashes of formulas that JSON takes for control characters, raw line breaks in strings, trailing commas,
curly quotes around everything, a wrapper of one key, a bare list, further keys, and verdicts in other
letters. All else is refused, in words that the model can act on.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, TypeVar

from pydantic import ValidationError

from knowtuning.teacher.tasks import Reply

T = TypeVar("T", bound=Reply)

NO_OBJECT = "found no JSON object; expected one JSON object and nothing else"
_MISSES = 100
_FENCE = re.compile(r"```[a-zA-Z]*\s*(.*?)```", re.DOTALL)
_START = re.compile(r'\{(?=\s*["}])')
_LIST = re.compile(r"\A\s*\[.*\]\s*\Z", re.DOTALL)

_TAG = "(?:think|thinking|thought|thoughts|reasoning|analysis)"
_THOUGHT = re.compile(rf"<({_TAG})>.*?</\1>", re.DOTALL | re.IGNORECASE)
_END = re.compile(rf"</{_TAG}>", re.IGNORECASE)
_BEGIN = re.compile(rf"<{_TAG}>", re.IGNORECASE)
# The channels of gpt-oss and its like.
_CHANNEL, _FINAL = "<|channel|>", re.compile(r"<\|channel\|>\s*final.*?<\|message\|>", re.DOTALL)

# A backslash with what follows it: a second one, a word, or one character.
_ESCAPE = re.compile(r"\\(\\|[A-Za-z]+|.)", re.DOTALL)
# Commands of formulas that begin like an escape of JSON and are no words behind a tab or a line break.
_COMMANDS = {
    *(
        "times",
        "text",
        "textbf",
        "textit",
        "textrm",
        "theta",
        "tan",
        "tau",
        "tanh",
        "tfrac",
        "to",
        "triangle",
    ),
    *("therefore", "nabla", "neq", "neg", "nleq", "ngeq", "rho", "rightarrow", "rangle", "rfloor", "rceil"),
}
_TRAILING = re.compile(r",(\s*[}\]])")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_QUOTES = str.maketrans("“”„‟＂", '"""""')


class _DoubleKeyError(ValueError):
    """An object that has a key twice: nobody knows which value is meant."""


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found and found[key] != value:
            raise _DoubleKeyError(f"found the key {key!r} twice with different values; expected it once")
        found[key] = value
    return found


# Not strict: a line break inside a string is one.
_DECODER = json.JSONDecoder(strict=False, object_pairs_hook=_pairs)


def parse_reply(text: str, kind: type[T]) -> T:
    """The reply in `text`, which may be fenced, follow a thought or have prose around it.

    Raises ValueError in words that the model can act on.
    """
    complaint = NO_OBJECT
    found: list[T] = []
    for value in _values(final_answer(text)):
        try:
            reply = _reply(value, kind)
        except ValidationError as error:
            complaint = _complaint(error)
            continue
        if reply not in found:
            found.append(reply)
    if len(found) > 1:
        raise ValueError(f"found {len(found)} different JSON objects; expected one")
    if not found:
        raise ValueError(complaint)
    control = _CONTROL.search("".join(_strings(found[0].model_dump())))
    if control:
        raise ValueError(f"found the control character U+{ord(control.group()):04X}; expected text without")
    return found[0]


@lru_cache(maxsize=64)
def examples(prompt: str, kind: type[Reply]) -> tuple[Reply, ...]:
    """The replies of a kind that a prompt shows as examples."""
    found = []
    for value in _objects(prompt):
        try:
            found.append(kind.model_validate_json(json.dumps(value)))
        except ValidationError:
            continue
    return tuple(found)


def final_answer(text: str) -> str:
    """What a model says behind its thoughts. Raises ValueError where it ends in the middle of one."""
    if _CHANNEL in text:
        ends = [match.end() for match in _FINAL.finditer(text)]
        if not ends:
            raise ValueError("found a thought without a final answer; expected the JSON object alone")
        text = re.split(r"<\|(?:return|end)\|>", text[ends[-1] :])[0]
    text = _THOUGHT.sub("", text)
    ends = [match.end() for match in _END.finditer(text)]
    text = text[ends[-1] :] if ends else text
    begin = _BEGIN.search(text)
    if begin is None:
        return text
    if not _START.search(text[: begin.start()]):
        raise ValueError("found a thought that does not end; expected the JSON object alone")
    return text[: begin.start()]


def _values(text: str) -> Iterator[Any]:
    """What a text holds: its objects, or else the list that it is."""
    objects = list(_objects(text))
    yield from objects
    if not objects and _LIST.match(text):
        try:
            yield _DECODER.decode(_mended(text).strip())
        except ValueError:
            return


def _objects(text: str) -> Iterator[dict[str, Any]]:
    """The outermost JSON objects in a text: of the fenced parts if these hold any, else of all of it."""
    parts = list(map(_mended, _FENCE.findall(text)))
    for candidates in (parts, [_mended(text)]):
        found = [value for part in candidates for value in _scan(part)]
        # Only where nothing reads as it stands: a string may hold ", ]" too.
        found = found or [value for part in candidates for value in _scan(_TRAILING.sub(r"\1", part))]
        if found:
            yield from found
            return


def _scan(text: str) -> Iterator[dict[str, Any]]:
    start, misses = _START.search(text), 0
    # Garbage could make every brace look like a beginning, each read to the end of the text in vain.
    while start is not None and misses < _MISSES:
        try:
            value, end = _DECODER.raw_decode(text, start.start())
            yield value
        except _DoubleKeyError:
            raise
        except (ValueError, RecursionError):
            misses, end = misses + 1, start.end()
        start = _START.search(text, end)


def _mended(text: str) -> str:
    """A text whose quotes and backslashes read as they were meant; JSON that was right says the same."""
    return _ESCAPE.sub(_escape, text if '"' in text else text.translate(_QUOTES))


def _escape(match: re.Match[str]) -> str:
    """A backslash that JSON reads as it was meant: that of a formula becomes two."""
    said = match.group(1)
    if said == "\\" or not said[0].isalpha():
        return match.group() if said in ("\\", '"', "/") else f"\\{match.group()}"
    if said[0] == "u":
        known = re.match(r"\\u[0-9a-fA-F]{4}", match.string[match.start() :]) is not None
        return match.group() if known else f"\\{match.group()}"
    formula = said[0] not in "bfnrt" or said in _COMMANDS or (said[0] in "bf" and len(said) > 1)
    return f"\\{match.group()}" if formula else match.group()


def _reply(value: Any, kind: type[T]) -> T:
    """The reply that a value is. Raises ValidationError."""
    fields = list(kind.model_fields)
    if isinstance(value, list) and len(fields) == 1:
        value = {fields[0]: value}
    if isinstance(value, dict) and len(value) == 1 and not set(fields) & value.keys():
        (inner,) = value.values()
        value = inner if isinstance(inner, dict) and set(fields) <= inner.keys() else value
    if isinstance(value, dict) and set(fields) <= value.keys():
        value = {name: value[name] for name in fields}
    try:
        return kind.model_validate_json(json.dumps(value))
    except ValidationError as error:
        if any(each["type"] != "literal_error" for each in error.errors()):
            raise
        return kind.model_validate_json(json.dumps(_folded(value)))


def _folded(value: Any) -> Any:
    """Words in small letters with _ between them, as verdicts are written."""
    if isinstance(value, str):
        return "_".join(value.casefold().strip(" .").split())
    if isinstance(value, list):
        return [_folded(each) for each in value]
    return {key: _folded(each) for key, each in value.items()}


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _strings(each)


def _complaint(error: ValidationError) -> str:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"]) or "the object"
    return f"{where}: {first['msg']}"
