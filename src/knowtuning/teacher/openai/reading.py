"""Reading a reply: the JSON object in a model's final answer, mended where its meaning is plain.

A thought is no answer: neither a draft inside one nor one that never ends. Mended without another call are
backslashes of formulas that JSON takes for control characters, raw line breaks in strings, trailing commas,
curly quotes around everything, a wrapper of one key, a bare list, a label such as "Answer:" before a text,
and verdicts in other letters; further keys are left unread. All else is refused, in words that the model can
act on.
"""

from __future__ import annotations

import json
import re
from collections.abc import Hashable, Iterator, Sequence
from contextlib import suppress
from functools import lru_cache
from typing import Any, TypeVar

from pydantic import ValidationError

from knowtuning.core.text import words
from knowtuning.teacher.openai.prompts import Message
from knowtuning.teacher.tasks import Reply, Task

T = TypeVar("T", bound=Reply)

NO_OBJECT = "found no JSON object; expected one JSON object and nothing else"
_MISSES = 100
_FENCE = re.compile(r"```[a-zA-Z]*\s*(.*?)```", re.DOTALL)
_START = re.compile(r'\{(?=\s*["}])')
_BRACE = re.compile(r"\{\s*['“\w]+['”]?:")
_LIST = re.compile(r"\A\s*\[.*\]\s*\Z", re.DOTALL)

# The marks around a thought, and the same as models write them.
_BEGIN, _END = "<think>", "</think>"
_MARK = re.compile(
    r"(?i:<(/?)(?:\w+:)?(?:think|thinking|thoughts?|reasoning|reflection|analysis|scratchpad)>)"
    r"|\[(/?)THINK\]|◁(/?)think▷|<\|(?:begin|(end))_of_thought\|>"
)
_THOUGHT = re.compile(f"{_BEGIN}.*?{_END}", re.DOTALL)
# The channels of gpt-oss and its like, and what is left of them where a server drops control tokens.
_BARE = re.compile(r"\Aanalysis.*assistantfinal", re.DOTALL)
_CHANNEL, _FINAL = "<|channel|>", re.compile(r"<\|channel\|>\s*final.*?<\|message\|>", re.DOTALL)

# A backslash with what follows it: a second one, a word, or one character.
_ESCAPE = re.compile(r"\\(\\|[A-Za-z]+|.)", re.DOTALL)
# Commands of formulas that begin like an escape of JSON and are no words behind a tab or a line break.
_COMMAND = re.compile(
    r"times|text(?:bf|it|rm)?|theta|tanh?|tau|tfrac|to|triangle|therefore|nabla|n?[lg]?eq|neg"
    r"|rho|rightarrow|rangle|rfloor|rceil"
)
_TRAILING = re.compile(r",(\s*[}\]])")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
# What a model writes before a text of its reply; in JSON as Python writes it.
_LABEL = re.compile(
    r'((?:[:,] |\[)")(?i:question|answer|(?:rephrased|rewritten|revised)(?: (?:text|version|question|fact))?'
    r"|(?:sure[,!] )?here(?: is|'s) (?:the|a|your) [^:\"\\]{0,40}(?:text|version|question|answer)):\s+"
)
_QUOTES = str.maketrans("“”„‟＂", '"""""')


class _DoubleKeyError(ValueError):
    """An object that has a key twice: nobody knows which value is meant."""


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key, value in pairs:
        if key in values and values[key] != value:
            raise _DoubleKeyError(f"found the key {key!r} twice with different values; expected it once")
        values[key] = value
    return values


# Not strict: a line break inside a string is one.
_DECODER = json.JSONDecoder(strict=False, object_pairs_hook=_pairs)


def read_reply(task: Task, text: str, prompt: Sequence[Message] = ()) -> Reply:
    """The reply to `task` in `text`; prompt: the messages that asked for it. Raises ValueError when it is
    malformed, fails the task's check, or repeats an example of the prompt."""
    reply: Reply = task.accept(parse_reply(text, task.reply_type))
    if prompt and _is_echo(reply, prompt[0]["content"], prompt[-1]["content"]):
        raise ValueError("found the prompt's own example; expected a reply to this question")
    return reply


def parse_reply(text: str, kind: type[T]) -> T:
    """The reply in `text`, which may be fenced, follow a thought or have prose around it. Raises ValueError
    in words that the model can act on."""
    answer = final_answer(text)
    complaint = ""
    replies: list[T] = []
    for value in _values(answer):
        try:
            reply = _reply(value, kind)
        except ValidationError as error:
            first = error.errors()[0]
            part = ".".join(map(str, first["loc"])) or "the object"
            complaint = f"{part}: {first['msg']}"
            continue
        if reply not in replies:
            replies.append(reply)
    if len(replies) > 1:
        raise ValueError(f"found {len(replies)} different JSON objects; expected one")
    if not replies:
        raise ValueError(complaint or _unreadable(answer))
    control = _CONTROL.search("".join(_strings(replies[0].model_dump())))
    if control:
        raise ValueError(f"found the control character U+{ord(control.group()):04X}; expected text without")
    return replies[0]


def examples(prompt: str, kind: type[T]) -> list[T]:
    """The replies of a kind that a prompt shows as examples."""
    replies = []
    for value in _values(prompt):
        with suppress(ValidationError):
            replies.append(_reply(value, kind))
    return replies


def _is_echo(reply: Reply, system: str, user: str) -> bool:
    """Whether a reply repeats an example of the system's message: both have an entry of a list or a reason,
    or six words in a row of its texts stand there and not in the user's message."""
    parts, runs = _shown(system, type(reply))
    echoed = _runs(*_strings(reply.model_dump(), reasons=False)) & runs
    return bool(_parts(reply) & parts or (echoed and echoed - _runs(user)))


@lru_cache(maxsize=64)
def _shown(system: str, kind: type[Reply]) -> tuple[frozenset[Hashable], frozenset[tuple[str, ...]]]:
    """The parts of a system message's examples, and its runs of words."""
    return frozenset().union(*map(_parts, examples(system, kind))), frozenset(_runs(system))


def _parts(reply: Reply) -> set[Hashable]:
    """The entries with a text of a reply's lists, and its reason."""
    return {
        part
        for _, value in reply
        for part in (value if isinstance(value, list) else [value])
        if " " in str(part.model_dump_json() if isinstance(part, Reply) else part)
    }


def _runs(*texts: str) -> set[tuple[str, ...]]:
    """The runs of six words in texts."""
    folded = [words(text) for text in texts]
    return {tuple(text[start : start + 6]) for text in folded for start in range(len(text) - 5)}


def final_answer(text: str) -> str:
    """What a model says behind its thoughts. Raises ValueError where it ends in the middle of one."""
    with suppress(ValueError, RecursionError):
        _DECODER.decode(_mended(text.strip()))
        return text  # JSON and nothing else: marks in its strings are text.
    if _CHANNEL in text:
        ends = [match.end() for match in _FINAL.finditer(text)]
        if not ends:
            raise ValueError("found a thought without a final answer; expected the JSON object alone")
        text = re.split(r"<\|(?:return|end)\|>", text[ends[-1] :])[0]
    text = _MARK.sub(lambda match: _END if any(match.groups()) else _BEGIN, _BARE.sub("", text))
    said, begin, _ = _THOUGHT.sub("", text).rpartition(_END)[2].partition(_BEGIN)
    if begin and not _START.search(said):
        raise ValueError("found a thought that does not end; expected the JSON object alone")
    return said


def _unreadable(text: str) -> str:
    """Why no object in a text can be read: there is none, or where the first one breaks."""
    mended = _mended(text)
    start = _START.search(mended) or _BRACE.search(mended)
    if start is not None:
        try:
            _DECODER.raw_decode(mended, start.start())
        except json.JSONDecodeError as error:
            before, behind = mended[max(start.start(), error.pos - 30) : error.pos], mended[error.pos :][:10]
            place = f"between {before!r} and {behind!r}" if behind.strip() else f"behind {before!r}"
            return f"found a JSON object that breaks {place} ({error.msg}); expected a whole one"
        except (ValueError, RecursionError):
            pass
    return NO_OBJECT


def _values(text: str) -> list[Any]:
    """The outermost objects in a text, of its fenced parts if these hold any; else the list that it is."""
    whole = _mended(text)
    for parts in (list(map(_mended, _FENCE.findall(text))), [whole]):
        # Commas before a bracket go only where nothing reads as it stands: a string may hold ", ]" too.
        for readable in (parts, [_TRAILING.sub(r"\1", part) for part in parts]):
            if objects := [value for part in readable for value in _objects(part)]:
                return objects
    with suppress(ValueError):
        return [_DECODER.decode(whole.strip())] if _LIST.match(text) else []
    return []


def _objects(text: str) -> Iterator[dict[str, Any]]:
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
    escaped = match.group(1)
    if escaped == "\\" or not escaped[0].isalpha():
        return match.group() if escaped in ("\\", '"', "/") else f"\\{match.group()}"
    if escaped[0] == "u":
        known = re.match(r"\\u[0-9a-fA-F]{4}", match.string[match.start() :]) is not None
        return match.group() if known else f"\\{match.group()}"
    formula = (
        escaped[0] not in "bfnrt" or _COMMAND.fullmatch(escaped) or (escaped[0] in "bf" and len(escaped) > 1)
    )
    return f"\\{match.group()}" if formula else match.group()


def _reply(value: Any, kind: type[T]) -> T:
    """The reply that a value is, wraps as its one value or lists as its only field, or ValidationError."""
    fields = kind.model_fields.keys()
    if isinstance(value, list) and len(fields) == 1:
        value = dict.fromkeys(fields, value)
    elif isinstance(value, dict) and len(value) == 1 and not fields & value.keys():
        (inner,) = value.values()
        value = inner if isinstance(inner, dict) and fields & inner.keys() else value
    return kind.model_validate_json(_LABEL.sub(r"\1", json.dumps(value)))


def _strings(value: Any, *, reasons: bool = True) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for each in value:
            yield from _strings(each, reasons=reasons)
    elif isinstance(value, dict):
        for key, each in value.items():
            if reasons or key != "reason":
                yield from _strings(each, reasons=reasons)
