"""Structured replies: the JSON schema an endpoint is asked to keep, and the reading of what it says."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, Literal, TypeVar

from pydantic import ValidationError

from knowtuning.teacher.tasks import Reply

Mode = Literal["json_schema", "json_object", "prompted"]
MODES: tuple[Mode, ...] = ("json_schema", "json_object", "prompted")

_FENCE = re.compile(r"```[a-zA-Z]*\s*(.*?)```", re.DOTALL)
_THOUGHT = re.compile(r"<think>.*?</think>", re.DOTALL)
_START = re.compile(r'\{(?=\s*["}])')
_MISSES = 100
_DECODER = json.JSONDecoder()

T = TypeVar("T", bound=Reply)


@lru_cache(maxsize=64)
def reply_schema(kind: type[Reply]) -> dict[str, Any]:
    """JSON schema of a reply as strict endpoints want it: every property required, no others allowed.

    Titles, descriptions and defaults are left out, so a changed docstring asks for nothing anew.
    """
    schema = _strict(kind.model_json_schema())
    assert isinstance(schema, dict)
    return schema


def response_format(mode: Mode, name: str, schema: dict[str, Any]) -> dict[str, Any] | None:
    """The `response_format` field of a request in `mode`; None: the field is not sent."""
    if mode == "json_schema":
        return {"type": "json_schema", "json_schema": {"name": name, "schema": schema, "strict": True}}
    return {"type": "json_object"} if mode == "json_object" else None


def parse_reply(text: str, kind: type[T]) -> T:
    """The reply in `text`, which may be fenced, follow a thought or have prose around it.

    Raises ValueError in words that the model can act on: no JSON, a wrong field, or several replies.
    """
    complaint = "found no JSON object; expected one JSON object and nothing else"
    found: list[T] = []
    for value in _objects(text):
        try:
            reply = kind.model_validate_json(json.dumps(value))
        except ValidationError as error:
            complaint = _complaint(error)
            continue
        if reply not in found:
            found.append(reply)
    if len(found) > 1:
        raise ValueError(f"found {len(found)} different JSON objects; expected one")
    if not found:
        raise ValueError(complaint)
    return found[0]


@lru_cache(maxsize=64)
def examples(prompt: str, kind: type[Reply]) -> tuple[Reply, ...]:
    """The replies of a kind that a prompt shows as examples."""
    found = []
    for value in _objects(prompt):
        with contextlib.suppress(ValidationError):
            found.append(kind.model_validate_json(json.dumps(value)))
    return tuple(found)


def _objects(text: str) -> Iterator[dict[str, Any]]:
    """The outermost JSON objects in a text: of the fenced parts if these hold any, else of all of it."""
    text = _THOUGHT.sub("", text)
    fenced = [value for part in _FENCE.findall(text) for value in _scan(part)]
    yield from fenced or _scan(text)


def _scan(text: str) -> Iterator[dict[str, Any]]:
    start, misses = _START.search(text), 0
    # Garbage could make every brace look like a beginning, each read to the end of the text in vain.
    while start is not None and misses < _MISSES:
        try:
            value, end = _DECODER.raw_decode(text, start.start())
            yield value
        except (ValueError, RecursionError):
            misses, end = misses + 1, start.end()
        start = _START.search(text, end)


def _complaint(error: ValidationError) -> str:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"]) or "the object"
    return f"{where}: {first['msg']}"


def _strict(node: Any) -> Any:
    if isinstance(node, list):
        return [_strict(item) for item in node]
    if not isinstance(node, dict):
        return node
    kept = {key: value for key, value in node.items() if key not in ("title", "description", "default")}
    strict = {key: _strict(value) for key, value in kept.items() if key not in ("properties", "$defs")}
    for table in ("properties", "$defs"):
        # Names in these tables are the model's own: a field may well be called `title`.
        if table in kept:
            strict[table] = {name: _strict(value) for name, value in kept[table].items()}
    if "properties" in strict:
        strict["required"] = list(strict["properties"])
        strict["additionalProperties"] = False
    return strict
