"""Structured replies: the JSON schema an endpoint is asked to keep, and the length that a reply may have."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Literal

from pydantic import BaseModel

from knowtuning.teacher.tasks import Reply, Task

# The ways to ask for one, best first. OpenAI takes no lengths of texts in a schema; llama-cpp-python,
# Together and Fireworks take a schema beside json_object alone.
Mode = Literal["json_schema", "json_schema_bare", "json_object_schema", "json_object", "prompted"]
MODES: tuple[Mode, ...] = (
    "json_schema",
    "json_schema_bare",
    "json_object_schema",
    "json_object",
    "prompted",
)
_BOUNDS = frozenset({"minItems", "maxItems", "minLength", "maxLength"})
_LEFT_OUT = frozenset({"title", "description", "default"})
_OPENING = 256  # tokens of a reply beside the text that it says again: reasons, brackets


def task_schema(task: Task) -> dict[str, Any]:
    """JSON schema of the reply to a task, its list bounded by the task's entries.

    Texts that are kept have no greatest length: a server that keeps to a schema would cut them in silence.
    """
    return reply_schema(task.reply_type, *task.entries())


@lru_cache(maxsize=256)
def reply_schema(kind: type[Reply], fewest: int = 0, most: int | None = None) -> dict[str, Any]:
    """JSON schema of a reply as strict endpoints want it: every property required, no others allowed.

    Titles, descriptions and defaults are left out, so a changed docstring asks for nothing anew. fewest,
    most: the bounds of its lists.
    """
    bounds = {"minItems": fewest} if fewest else {}
    schema = _strict(kind.model_json_schema(), bounds if most is None else {**bounds, "maxItems": most})
    assert isinstance(schema, dict)
    return schema


def response_format(mode: Mode, name: str, schema: dict[str, Any]) -> dict[str, Any] | None:
    """The `response_format` field of a request in `mode`; None: the field is not sent."""
    if mode in ("json_schema", "json_schema_bare"):
        shown = schema if mode == "json_schema" else _without(schema, _BOUNDS)
        return {"type": "json_schema", "json_schema": {"name": name, "schema": shown, "strict": True}}
    if mode == "json_object_schema":
        return {"type": "json_object", "schema": schema}
    return {"type": "json_object"} if mode == "json_object" else None


def reply_limit(task: Task, ceiling: int) -> int:
    """Tokens that a usable reply may take, at most `ceiling`: one for each byte of the text it says again.

    English has four bytes a token. Thoughts are in no estimate: see calls.py on replies that are cut off.
    """
    values = [getattr(task, name) for name in task.repeats]
    return min(ceiling, _OPENING + sum(map(_size, values)))


def _size(value: Any) -> int:
    if isinstance(value, str):
        return len(value.encode("utf-8"))
    if isinstance(value, BaseModel):
        value = [text for _, text in value]
    # With each entry come quotes, names and a short reason.
    return sum(32 + _size(each) for each in value)


def _strict(node: Any, bounds: dict[str, int]) -> Any:
    if isinstance(node, list):
        return [_strict(item, bounds) for item in node]
    if not isinstance(node, dict):
        return node
    strict = {
        # Names in these tables are the model's: a field may well be called `title`.
        key: {name: _strict(each, bounds) for name, each in value.items()}
        if key in ("properties", "$defs")
        else _strict(value, bounds)
        for key, value in node.items()
        if key not in _LEFT_OUT
    }
    if "properties" in strict:
        strict["required"] = list(strict["properties"])
        strict["additionalProperties"] = False
    return {**strict, **bounds} if strict.get("type") == "array" else strict


def _without(node: Any, keys: frozenset[str]) -> Any:
    if isinstance(node, list):
        return [_without(item, keys) for item in node]
    if not isinstance(node, dict):
        return node
    return {key: _without(value, keys) for key, value in node.items() if key not in keys}
