"""Structured replies: the JSON schema an endpoint is asked to keep."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Literal

from knowtuning.teacher.tasks import Reply

Mode = Literal["json_schema", "json_object", "prompted"]
MODES: tuple[Mode, ...] = ("json_schema", "json_object", "prompted")


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
