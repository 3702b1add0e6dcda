"""Conversations as rows: the last user turn with its context is the question, the next turn the answer."""

from __future__ import annotations

from typing import Any

import pytest

from knowtuning.data.examples import Columns, Reject, SourceRow, to_example
from knowtuning.data.readers import RawRow

COLUMNS = Columns("instruction", "output", context="input")
OPTIONAL = Columns("instruction", "output", optional=True)


def messages(*turns: tuple[str, Any]) -> dict[str, Any]:
    return {"messages": [{"role": role, "content": content} for role, content in turns]}


def sharegpt(*turns: tuple[str, Any]) -> dict[str, Any]:
    return {"conversations": [{"from": role, "value": content} for role, content in turns]}


def read(values: Any, columns: Columns = COLUMNS) -> SourceRow | Reject:
    return to_example(RawRow("c.jsonl line 1", values), columns)


def both(values: Any, columns: Columns = COLUMNS) -> tuple[str, str]:
    row = read(values, columns)
    assert isinstance(row, SourceRow), row
    return row.example.question, row.example.answer


Q, A = ("user", "Q?"), ("assistant", "A.")
HUMAN, GPT = ("human", "Q?"), ("gpt", "A.")


@pytest.mark.parametrize(
    ("values", "question", "answer"),
    [
        # One turn each: as if they stood in columns, layout included.
        (messages(Q, ("assistant", "def f():\r\n    pass\n")), "Q?", "def f():\n    pass"),
        (sharegpt(HUMAN, GPT), "Q?", "A."),
        (sharegpt(Q, A), "Q?", "A."),
        (messages(("system", "Be short."), Q, A), "Be short.\n\nQ?", "A."),
        (messages(("system", " "), Q, A), "Q?", "A."),
        (
            sharegpt(("system", "Be short."), HUMAN, GPT, ("human", "Why?"), ("gpt", "So.")),
            "Be short.\n\nUser: Q?\n\nAssistant: A.\n\nUser: Why?",
            "So.",
        ),
        # A greeting first, and two user turns in a row: all of it is context.
        (
            sharegpt(("gpt", "Hello!"), ("human", "Well."), HUMAN, GPT),
            "Assistant: Hello!\n\nUser: Well.\n\nUser: Q?",
            "A.",
        ),
        (messages(("user", [{"type": "text", "text": "One."}, "Two?"]), A), "One.\nTwo?", "A."),
        ({"conversations": {"from": ["human", "gpt"], "value": ["Q?", "A."]}}, "Q?", "A."),
        # A question beside the conversation is what is asked; stages/prepare.py notes the other column.
        ({"instruction": "I?", "output": "O.", **messages(Q)}, "I?", "O."),
    ],
)
def test_the_last_exchange_is_the_example(values: Any, question: str, answer: str) -> None:
    assert both(values) == (question, answer)


TOOL_CALL = {"role": "assistant", "tool_calls": [{"id": 1}]}
TURNS_AS_TEXT = (
    "not_text: instruction: found an array, expected text (turns are read from a column called messages or "
    "conversations of rows without the column of the question: let prepare.file"
)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"messages": "Q? A."}, "bad_turns: messages: found no list of turns but a text (JSONL and"),
        ({"messages": []}, "bad_turns: messages: found no list of turns"),
        ({"messages": ["Q?", "A."]}, "turn 1: found no object, expected role and content"),
        (messages(A), "bad_turns: messages: found no user turn among 1"),
        (messages(Q, ("tool", "7"), A), "turn 2: found the role 'tool', expected system, user or assistant"),
        ({"messages": [*messages(Q)["messages"], TOOL_CALL]}, "turn 2: found a tool call, expected text"),
        (sharegpt(HUMAN, GPT, GPT), "found assistant and assistant behind the last user turn, expected one"),
        (messages(Q, ("system", "S."), A), "found system and assistant behind the last user turn"),
        (messages(("user", [{"type": "image_url"}]), A), "turn 1: found content that is no text"),
        (messages(Q, ("assistant", ""), Q, A), "found an empty assistant turn before the last user turn"),
        (messages(("user", " "), A), "empty_question: messages, last user turn: found no visible character"),
        (
            messages(Q, ("assistant", "nan")),
            "empty_answer: messages, last assistant turn: found 'nan', which stands for no text",
        ),
        (messages(Q, A, Q), "empty_answer: messages, last assistant turn: found no visible character"),
        ({"instruction": messages(Q)["messages"], "output": "A."}, TURNS_AS_TEXT),
        (messages(("user", "\ud800"), A), "last user turn: found half a surrogate pair"),
    ],
)
def test_what_is_refused_says_the_turn(values: Any, reason: str) -> None:
    row = read(values)
    assert isinstance(row, Reject)
    assert reason in row.record().reason


def test_a_prompt_alone_is_a_question_of_a_further_test_set() -> None:
    assert both(messages(("user", "Q?")), OPTIONAL) == ("Q?", "")
    assert both(messages(("user", "Q?"), ("assistant", "<nooutput>")), OPTIONAL) == ("Q?", "")
    assert both({"instruction": "Q?"}, OPTIONAL) == ("Q?", "")
