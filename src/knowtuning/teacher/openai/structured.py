"""Structured replies: the JSON schema an endpoint is asked to keep, and the length that a reply may have."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, Literal, get_args

from pydantic import BaseModel

from knowtuning.teacher.tasks import Reply, Task

# The ways to ask for one, best first. OpenAI takes no lengths of texts in a schema; llama-cpp-python,
# Together and Fireworks take a schema beside json_object alone.
Mode = Literal["json_schema", "json_schema_bare", "json_object_schema", "json_object", "prompted"]
MODES: tuple[Mode, ...] = get_args(Mode)
_BOUNDS = frozenset({"minItems", "maxItems", "minLength", "maxLength"})
_DOCUMENTATION = frozenset({"title", "description", "default"})
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
    bounds |= {} if most is None else {"maxItems": most}

    def strict(node: dict[str, Any]) -> dict[str, Any]:
        if "properties" in node:
            node |= {"required": list(node["properties"]), "additionalProperties": False}
        return node | bounds if node.get("type") == "array" else node

    schema: dict[str, Any] = _rewritten(kind.model_json_schema(), _DOCUMENTATION, strict)
    return schema


def response_format(mode: Mode, name: str, schema: dict[str, Any]) -> dict[str, Any] | None:
    """The `response_format` field of a request in `mode`; None: the field is not sent."""
    if mode in ("json_schema", "json_schema_bare"):
        shown = schema if mode == "json_schema" else _rewritten(schema, _BOUNDS, dict)
        return {"type": "json_schema", "json_schema": {"name": name, "schema": shown, "strict": True}}
    if mode == "json_object_schema":
        return {"type": "json_object", "schema": schema}
    return {"type": "json_object"} if mode == "json_object" else None


def reply_limit(task: Task, ceiling: int) -> int:
    """Tokens that a usable reply may take, at most `ceiling`: one for each byte of the text it says again.

    English has four bytes a token. Thoughts are in no estimate: see calls.py on replies that are cut off.
    """
    return min(ceiling, _OPENING + sum(_size(getattr(task, name)) for name in task.repeats))


def _size(value: Any) -> int:
    if isinstance(value, str):
        return len(value.encode("utf-8"))
    if isinstance(value, BaseModel):
        value = [text for _, text in value]
    # With each entry come quotes, names and a short reason.
    return sum(32 + _size(each) for each in value)


def _rewritten(node: Any, left_out: frozenset[str], change: Callable[[dict[str, Any]], Any]) -> Any:
    """A schema without some keywords, each of its nodes changed."""
    if isinstance(node, list):
        return [_rewritten(item, left_out, change) for item in node]
    if not isinstance(node, dict):
        return node
    kept: dict[str, Any] = {}
    for key, value in node.items():
        if key in ("properties", "$defs"):
            # Names in these tables are the model's: a field may well be called `title`.
            kept[key] = {name: _rewritten(each, left_out, change) for name, each in value.items()}
        elif key not in left_out:
            kept[key] = _rewritten(value, left_out, change)
    return change(kept)
