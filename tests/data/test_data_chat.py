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


@pytest.mark.parametrize(
    ("values", "question", "answer"),
    [
        # One turn each: as if they stood in columns, layout included.
        (messages(("user", "Q?"), ("assistant", "def f():\r\n    pass\n")), "Q?", "def f():\n    pass"),
        (sharegpt(("human", "Q?"), ("gpt", "A.")), "Q?", "A."),
        (sharegpt(("user", "Q?"), ("assistant", "A.")), "Q?", "A."),
        (messages(("system", "Be short."), ("user", "Q?"), ("assistant", "A.")), "Be short.\n\nQ?", "A."),
        (messages(("system", " "), ("user", "Q?"), ("assistant", "A.")), "Q?", "A."),
        (
            sharegpt(
                ("system", "Be short."), ("human", "Q?"), ("gpt", "A."), ("human", "Why?"), ("gpt", "So.")
            ),
            "Be short.\n\nUser: Q?\n\nAssistant: A.\n\nUser: Why?",
            "So.",
        ),
        # A greeting first, and two user turns in a row: all of it is context.
        (
            sharegpt(("gpt", "Hello!"), ("human", "Well."), ("human", "Why?"), ("gpt", "So.")),
            "Assistant: Hello!\n\nUser: Well.\n\nUser: Why?",
            "So.",
        ),
        (
            messages(("user", [{"type": "text", "text": "One."}, "Two?"]), ("assistant", "A.")),
            "One.\nTwo?",
            "A.",
        ),
        ({"conversations": {"from": ["human", "gpt"], "value": ["Q?", "A."]}}, "Q?", "A."),
        # A question beside the conversation is what is asked; stages/prepare.py notes the other column.
        ({"instruction": "I?", "output": "O.", **messages(("user", "Q?"))}, "I?", "O."),
    ],
)
def test_the_last_exchange_is_the_example(values: Any, question: str, answer: str) -> None:
    assert both(values) == (question, answer)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"messages": "Q? A."}, "bad_turns: messages: found no list of turns but a text (JSONL and"),
        ({"messages": []}, "bad_turns: messages: found no list of turns"),
        (
            {"messages": ["Q?", "A."]},
            "bad_turns: messages: turn 1: found no object, expected role and content",
        ),
        (messages(("assistant", "A.")), "bad_turns: messages: found no user turn among 1"),
        (
            messages(("user", "Q?"), ("tool", "7"), ("assistant", "A.")),
            "bad_turns: messages: turn 2: found the role 'tool', expected system, user or assistant",
        ),
        (
            {
                "messages": [
                    {"role": "user", "content": "Q?"},
                    {"role": "assistant", "tool_calls": [{"id": 1}]},
                ]
            },
            "bad_turns: messages: turn 2: found a tool call, expected text alone",
        ),
        (
            sharegpt(("human", "Q?"), ("gpt", "A."), ("gpt", "B.")),
            "bad_turns: conversations: found assistant and assistant behind the last user turn, expected one",
        ),
        (
            messages(("user", "Q?"), ("system", "S."), ("assistant", "A.")),
            "bad_turns: messages: found system and assistant behind the last user turn",
        ),
        (
            messages(("user", [{"type": "image_url", "image_url": {}}]), ("assistant", "A.")),
            "bad_turns: messages: turn 1: found content that is no text",
        ),
        (
            messages(("user", "Q?"), ("assistant", ""), ("user", "R?"), ("assistant", "A.")),
            "bad_turns: messages: found an empty assistant turn before the last user turn",
        ),
        (
            messages(("user", " "), ("assistant", "A.")),
            "empty_question: messages, last user turn: found no visible character",
        ),
        (
            messages(("user", "Q?"), ("assistant", "nan")),
            "empty_answer: messages, last assistant turn: found 'nan', which stands for no text",
        ),
        (
            messages(("user", "Q?"), ("assistant", "A."), ("user", "R?")),
            "empty_answer: messages, last assistant turn: found no visible character",
        ),
        (
            {"instruction": [{"role": "user", "content": "Q?"}], "output": "A."},
            "not_text: instruction: found an array, expected text (turns are read from a column called "
            "messages or conversations of rows without the column of the question: let prepare.file",
        ),
        (
            messages(("user", "\ud800"), ("assistant", "A.")),
            "last user turn: found half a surrogate pair",
        ),
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
