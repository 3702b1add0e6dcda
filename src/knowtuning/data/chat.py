"""Rows that hold a conversation: `messages` (role, content) or ShareGPT's `conversations` (from, value).

A row is one example. Its question is the last user turn, its answer the assistant turn behind it. What comes
before is the context of the question and stands in front of it, in order: system turns as they are, the
others behind `User:` and `Assistant:`, a blank line between two. A lone user turn is the question as it is.

Refused, since the question would not be what the model is to answer: tool turns and tool calls, parts that
are no text (such as images), unknown roles, and anything else behind the last user turn than one assistant
turn.
A system turn without text says nothing and is passed over.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Literal

from knowtuning.data.normalise import normalise, visible

COLUMNS = ("messages", "conversations", "conversation")
# How a reader who names that column as the question, or as the answer, gets its turns read.
WAY = (
    f"turns are read from a column called {' or '.join(COLUMNS[:2])} of rows without the column of the "
    "question: let prepare.file.columns.question name another one, such as question"
)
Role = Literal["system", "user", "assistant"]
_ROLES: dict[str, Role] = {
    **dict.fromkeys(("system", "developer"), "system"),
    **dict.fromkeys(("user", "human", "prompter"), "user"),
    **dict.fromkeys(("assistant", "gpt", "model", "bot", "chatgpt"), "assistant"),
}
_LABELS: dict[Role, str] = {"system": "", "user": "User: ", "assistant": "Assistant: "}
_CALLS = ("tool_calls", "function_call")


@dataclass(frozen=True)
class Turn:
    """What one side says."""

    role: Role
    text: str


@dataclass(frozen=True)
class Exchange:
    """The last question of a conversation, behind its context (asked) and alone; answer: may be empty."""

    asked: str
    question: str
    answer: str


def chat_column(columns: Collection[str], question: str) -> str | None:
    """The column of the conversation; None where there is none, or a column `question` beside it."""
    if question in columns:
        return None
    return next((column for column in COLUMNS if column in columns), None)


def exchange(value: Any) -> Exchange:
    """The last exchange of a row's turns. Raises ValueError, with the turn (from 1), where it is refused."""
    if isinstance(value, dict) and all(isinstance(part, list) for part in value.values()):
        # The columns of the turns, as the library `datasets` gives a list of records.
        value = [dict(zip(value, turn, strict=False)) for turn in zip(*value.values(), strict=False)]
    if not isinstance(value, list) or not value:
        text = " but a text (JSONL and Parquet hold lists)" if isinstance(value, str) else ""
        raise ValueError(f"found no list of turns{text}, expected user and assistant turns")
    turns = [_turn(turn, number) for number, turn in enumerate(value, 1)]
    last = max((index for index, turn in enumerate(turns) if turn.role == "user"), default=None)
    if last is None:
        raise ValueError(f"found no user turn among {len(turns)}, expected one that asks")
    behind = turns[last + 1 :]
    if [turn.role for turn in behind] not in ([], ["assistant"]):
        roles = " and ".join(turn.role for turn in behind)
        raise ValueError(f"found {roles} behind the last user turn, expected one assistant turn")
    context = [turn for turn in turns[:last] if turn.role != "system" or visible(turn.text)]
    for turn in context:
        if not visible(turn.text):
            raise ValueError(f"found an empty {turn.role} turn before the last user turn, expected text")
    shown = [*context, turns[last]]
    dialogue = sum(turn.role != "system" for turn in shown) > 1
    asked = "\n\n".join(_LABELS[turn.role] + turn.text if dialogue else turn.text for turn in shown)
    return Exchange(asked, turns[last].text, behind[0].text if behind else "")


def _turn(value: Any, number: int) -> Turn:
    if not isinstance(value, dict):
        raise ValueError(f"turn {number}: found no object, expected role and content, or from and value")
    name = value.get("role", value.get("from"))
    if any(value.get(call) for call in _CALLS):
        raise ValueError(f"turn {number}: found a tool call, expected text alone")
    if not isinstance(name, str) or name.lower() not in _ROLES:
        raise ValueError(f"turn {number}: found the role {name!r}, expected system, user or assistant")
    return Turn(_ROLES[name.lower()], _content(value.get("content", value.get("value")), number))


def _content(value: Any, number: int) -> str:
    """The text of a turn; its parts one below the other, where it is a list of them."""
    if isinstance(value, list):
        parts: list[Any] = [part.get("text") if _is_text(part) else part for part in value]
        value = "\n".join(parts) if all(isinstance(part, str) for part in parts) else None
    if not isinstance(value, str):
        raise ValueError(f"turn {number}: found content that is no text, expected text")
    return normalise(value)


def _is_text(part: Any) -> bool:
    return isinstance(part, dict) and part.get("type") == "text"
