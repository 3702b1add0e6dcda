"""Prompt files: one text a task, a system and a user part, with the task's fields filled in.

A file reads

    [system]
    what the teacher is to do, and a worked example that ends in the JSON object it replies with
    [user]
    Question: {{question}}

A field is replaced in one pass over the file, so braces, dollars or even `{{question}}` inside a record
stay what they are. A text goes in as it is, a list with a number before each entry.
"""

from __future__ import annotations

import re
from pathlib import Path

from pydantic import BaseModel

from knowtuning.teacher.tasks import Task

Message = dict[str, str]

_FIELD = re.compile(r"\{\{(\w+)\}\}")
_PARTS = re.compile(r"\A\s*\[system\]\s*\n(.*?)\n\[user\]\s*\n(.*)\Z", re.DOTALL)


class Prompts:
    """The prompts of a folder, read once each."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._read: dict[type[Task], tuple[str, str]] = {}

    def messages(self, task: Task) -> list[Message]:
        """The system and the user message that put `task` to the teacher."""
        kind = type(task)
        if kind not in self._read:
            self._read[kind] = _load(self._folder / f"{kind.name}.txt", kind)
        system, user = self._read[kind]
        return [
            {"role": "system", "content": _fill(system, task)},
            {"role": "user", "content": _fill(user, task)},
        ]


def _load(path: Path, kind: type[Task]) -> tuple[str, str]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise ValueError(f"{path}: not found; the task {kind.name!r} needs its prompt there") from error
    parts = _PARTS.match(text)
    if parts is None:
        raise ValueError(f"{path}: expected a line [system], its text, a line [user] and its text")
    # The id would make the same question of another row another call, and JSON mode wants the word.
    known = set(kind.model_fields) - {"id"}
    unknown = sorted(set(_FIELD.findall(text)) - known)
    if unknown:
        raise ValueError(
            f"{path}: {{{{{unknown[0]}}}}} is no field; expected one of {', '.join(sorted(known))}"
        )
    if "JSON" not in text:
        raise ValueError(f"{path}: does not mention JSON; say which JSON object is the reply")
    return parts.group(1).strip(), parts.group(2).strip()


def _fill(template: str, task: Task) -> str:
    return _FIELD.sub(lambda match: _shown(getattr(task, match.group(1))), template)


def _shown(value: object) -> str:
    if isinstance(value, BaseModel):
        return " | ".join(str(part) for _, part in value)
    if isinstance(value, tuple):
        # Further lines are indented, so that none looks like the next entry.
        entries = (_shown(each).replace("\n", "\n   ") for each in value)
        return "\n".join(f"{number}. {entry}" for number, entry in enumerate(entries, 1))
    return str(value)
