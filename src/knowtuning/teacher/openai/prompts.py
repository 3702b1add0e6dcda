"""What is asked: the prompt of a task, the JSON schema of its reply, and the length that this may have.

A prompt file reads

    [system]
    what the teacher is to do, and a worked example that ends in the JSON object it replies with
    [user]
    Question: {{question}}

A field is replaced in one pass over the file, so braces, dollars or even `{{question}}` inside a record
stay what they are. A text goes in as it is, a list with a number before each entry.
"""

from __future__ import annotations

import json
import re
from functools import cache, lru_cache, partial
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import BaseModel

from knowtuning.core.storage import open_text
from knowtuning.teacher.tasks import Reply, Task

Message = dict[str, str]
# The ways to ask for a structured reply, best first. OpenAI takes no lengths of texts in a schema;
# llama-cpp-python, Together and Fireworks take a schema beside json_object alone.
Mode = Literal["json_schema", "json_schema_bare", "json_object_schema", "json_object", "prompted"]
MODES: tuple[Mode, ...] = get_args(Mode)

_FIELD = re.compile(r"\{\{(\w+)\}\}")
_PARTS = re.compile(r"\A\s*\[system\]\s*\n(.*?)\n\[user\]\s*\n(.*)\Z", re.DOTALL)
_BOUNDS = frozenset({"minItems", "maxItems", "minLength", "maxLength"})
_DOCUMENTATION = frozenset({"title", "description", "default"})
_OPENING = 256  # tokens of a reply beside the text that it says again: reasons, brackets


class Prompts:
    """The prompts of a folder, read once each."""

    def __init__(self, folder: Path) -> None:
        self._read = cache(lambda kind: _load(folder / f"{kind.name}.txt", kind))

    def messages(self, task: Task) -> list[Message]:
        """The system and the user message that put `task` to the teacher."""

        def filled(template: str) -> str:
            return _FIELD.sub(lambda match: _shown(getattr(task, match.group(1))), template)

        system, user = self._read(type(task))
        return [{"role": "system", "content": filled(system)}, {"role": "user", "content": filled(user)}]


def _load(path: Path, kind: type[Task]) -> tuple[str, str]:
    try:
        with open_text(path, encoding="utf-8-sig") as stream:
            text = stream.read()
    except FileNotFoundError as error:
        raise ValueError(f"{path}: not found; the task {kind.name!r} needs its prompt there") from error
    parts = _PARTS.match(text)
    if parts is None:
        raise ValueError(f"{path}: expected a line [system], its text, a line [user] and its text")
    # The id would make the same question of another row another call, and JSON mode wants the word.
    known = set(kind.model_fields) - {"id"}
    used = set(_FIELD.findall(text))
    expected = "expected each of " + ", ".join(f"{{{{{name}}}}}" for name in sorted(known))
    if used - known:
        raise ValueError(f"{path}: {{{{{min(used - known)}}}}} is no field; {expected}")
    if known - used:
        # Such as `{{ answer }}` or `{answer}`: it would be sent, and paid, as it stands.
        raise ValueError(f"{path}: {{{{{min(known - used)}}}}} is not in it; {expected}")
    if "JSON" not in text:
        raise ValueError(f"{path}: does not mention JSON; say which JSON object is the reply")
    return parts.group(1).strip(), parts.group(2).strip()


def _shown(value: object) -> str:
    if isinstance(value, BaseModel):
        return " | ".join(str(part) for _, part in value)
    if isinstance(value, tuple):
        # Further lines are indented, so that none looks like the next entry.
        entries = (_shown(each).replace("\n", "\n   ") for each in value)
        return "\n".join(f"{number}. {entry}" for number, entry in enumerate(entries, 1))
    return str(value)


def task_schema(task: Task) -> dict[str, Any]:
    """JSON schema of the reply to a task, its list bounded by the task's entries."""
    # Texts that are kept have no greatest length: a server that keeps to a schema would cut them in silence.
    return reply_schema(task.reply_type, *task.entries())


@lru_cache(maxsize=256)
def reply_schema(kind: type[Reply], fewest: int = 0, most: int | None = None) -> dict[str, Any]:
    """JSON schema of a reply as strict endpoints want it: every property required, no others allowed.

    Without documentation: a changed docstring asks for nothing anew. fewest, most: the bounds of its lists.
    """
    bounds = {"minItems": fewest} if fewest else {}
    bounds |= {} if most is None else {"maxItems": most}

    def strict(node: dict[str, Any]) -> dict[str, Any]:
        node = _without(node, _DOCUMENTATION)
        if "properties" in node:
            node |= {"required": list(node["properties"]), "additionalProperties": False}
        return node | bounds if node.get("type") == "array" else node

    # The decoder's hook meets every object, the innermost first.
    schema: dict[str, Any] = json.loads(json.dumps(kind.model_json_schema()), object_hook=strict)
    return schema


def response_format(mode: Mode, name: str, schema: dict[str, Any]) -> dict[str, Any] | None:
    """The `response_format` field of a request in `mode`; None: the field is not sent."""
    if mode in ("json_schema", "json_schema_bare"):
        bare = partial(_without, keywords=_BOUNDS)
        shown = schema if mode == "json_schema" else json.loads(json.dumps(schema), object_hook=bare)
        return {"type": "json_schema", "json_schema": {"name": name, "schema": shown, "strict": True}}
    if mode == "json_object_schema":
        return {"type": "json_object", "schema": schema}
    return {"type": "json_object"} if mode == "json_object" else None


def reply_limit(task: Task, ceiling: int) -> int:
    """Tokens that a usable reply may take, at most `ceiling`: one for each byte of the text it says again."""
    # English has four bytes a token. Thoughts are in no estimate: see calls.py on replies that are cut off.
    return min(ceiling, _OPENING + sum(_size(getattr(task, name)) for name in task.repeats))


def _size(value: Any) -> int:
    if isinstance(value, str):
        return len(value.encode("utf-8"))
    if isinstance(value, BaseModel):
        value = [text for _, text in value]
    # With each entry come quotes, names and a short reason.
    return sum(32 + _size(each) for each in value)


def _without(node: dict[str, Any], keywords: frozenset[str]) -> dict[str, Any]:
    """A node of a schema without some keywords; a field that is called `title` has a schema for its value."""
    return {key: value for key, value in node.items() if key not in keywords or isinstance(value, dict)}
