"""Reading replies in the forms models give them, and the schemas endpoints get."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knowtuning.teacher.judging import FactVerdicts, Judge, Preferral
from knowtuning.teacher.openai.calls import read_reply
from knowtuning.teacher.openai.prompts import Prompts
from knowtuning.teacher.openai.reading import parse_reply
from knowtuning.teacher.openai.structured import MODES, reply_schema, response_format
from knowtuning.teacher.tasks import Extract, FactList, Rephrase, Reply
from tests.support.checkout import PROMPTS

TWO = FactList(facts=["A is b.", "C is d."])
JSON = '{"facts": ["A is b.", "C is d."]}'


@pytest.mark.parametrize(
    "text",
    [
        JSON,
        f"  \n{JSON}\n",
        f"```json\n{JSON}\n```",
        f"```\n{JSON}```",
        f"Sure! Here are the facts:\n\n{JSON}\n\nLet me know if you need more.",
        f"Sets like {{a, b}} aside: {JSON}",
        f"```python\nx = {{}}\n```\n```json\n{JSON}\n```",
        f'<think>Perhaps {{"facts": ["x"]}}?</think>{JSON}',
        f'<thinking>Perhaps {{"facts": ["x"]}}?</thinking>{JSON}',
        # The template had opened the thought.
        f'Perhaps {{"facts": ["x"]}}?\n</think>\n\n{JSON}',
        '<|channel|>analysis<|message|>{"facts": ["x"]}<|end|><|start|>assistant'
        f"<|channel|>final<|message|>{JSON}",
        # Plainly meant: a trailing comma, quotes of a word processor, a wrapper, a bare list, a further key.
        '{"facts": ["A is b.", "C is d.",],}',
        "{“facts”: [“A is b.”, “C is d.”]}",
        f'{{"result": {JSON}}}',
        '["A is b.", "C is d."]',
        '{"reasoning": "Two.", "facts": ["A is b.", "C is d."]}',
        f"{JSON}\n{JSON}",
        json.dumps({"facts": ["A is b.", "C is d."]}, indent=4),
    ],
)
def test_fences_prose_and_thoughts_around_the_object_are_accepted(text: str) -> None:
    assert parse_reply(text, FactList) == TWO


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "found no JSON object"),
        ("A is b. C is d.", "found no JSON object"),
        ('{"facts": ["A is b.", ', "found no JSON object"),
        ("{'facts': ['A is b.']}", "found no JSON object"),
        ("{" * 5000, "found no JSON object"),
        ('{"a":' * 5000, "found no JSON object"),
        ('{"facts": [1]}', "facts.0: Input should be a valid string"),
        ('{"facts": null}', "facts: Input should be a valid array"),
        ('{"fact": []}', "facts: Field required"),
        (f"<think>So {JSON}", "found a thought that does not end"),
        (f"<|channel|>analysis<|message|>{JSON}", "found a thought without a final answer"),
        ('{"facts": ["a"], "facts": ["b"]}', "found the key 'facts' twice with different values"),
        ('{"facts": ["a\\u0007"]}', "found the control character U+0007"),
        ('{"facts": ["\\ud800"]}', "unexpected end of hex escape"),
        ('{"facts": ["a"]} or {"facts": ["b"]}', "found 2 different JSON objects"),
    ],
)
def test_what_is_no_reply_is_refused_in_words(text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        parse_reply(text, FactList)
    assert complaint in str(caught.value)


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        (r"The slope is \frac{a}{b}.", r"The slope is \frac{a}{b}."),
        (r"\beta + \times \theta \rho \nabla \alpha \upsilon \(x\)", None),
        (r"Right already: \\frac{a}{b}", r"Right already: \frac{a}{b}"),
        (r"One line.\nTwo lines,\tsays \"he\".", 'One line.\nTwo lines,\tsays "he".'),
        ("One line.\nTwo raw lines.", "One line.\nTwo raw lines."),
        (r"caf\u00e9, a/b, a\/b", "café, a/b, a/b"),
        ("Listed: (a, b, ], c)", None),
    ],
)
def test_backslashes_and_line_breaks_mean_what_was_written(said: str, meant: str | None) -> None:
    reply = parse_reply(f'{{"facts": ["{said}"]}}', FactList)
    assert reply.facts == [said if meant is None else meant]


def test_a_verdict_in_other_letters_is_that_verdict() -> None:
    said = '{"verdicts": ["Supported", "NOT SUPPORTED", "contradicted."]}'
    assert parse_reply(said, FactVerdicts).verdicts == ["supported", "not_supported", "contradicted"]
    with pytest.raises(ValueError, match=r"verdicts\.0: Input should be 'supported'"):
        parse_reply('{"verdicts": ["perhaps"]}', FactVerdicts)


READABLE = st.text(st.characters(exclude_categories=["Cc", "Cs"]))


@given(st.lists(READABLE), st.sampled_from(["{}", "```json\n{}\n```", "Here:\n{}\nDone."]))
def test_any_facts_come_back(facts: list[str], frame: str) -> None:
    text = json.dumps({"facts": facts})
    assert parse_reply(frame.replace("{}", text), FactList) == FactList(facts=facts)


class Part(Reply):
    """A docstring that must not reach the schema."""

    title: str
    note: str | None = None


class Whole(Reply):
    description: str
    parts: list[Part]


def test_schemas_are_strict_and_free_of_documentation() -> None:
    """Fields named like keywords stay; optional ones are required, as strict endpoints demand."""
    part = {
        "type": "object",
        "properties": {
            "title": {"type": "string"},
            "note": {"anyOf": [{"type": "string"}, {"type": "null"}]},
        },
        "required": ["title", "note"],
        "additionalProperties": False,
    }
    assert reply_schema(Whole) == {
        "$defs": {"Part": part},
        "type": "object",
        "properties": {
            "description": {"type": "string"},
            "parts": {"type": "array", "items": {"$ref": "#/$defs/Part"}},
        },
        "required": ["description", "parts"],
        "additionalProperties": False,
    }


def test_response_formats() -> None:
    schema = reply_schema(FactList)
    assert [response_format(mode, "extract", schema) for mode in MODES] == [
        {"type": "json_schema", "json_schema": {"name": "extract", "schema": schema, "strict": True}},
        {"type": "json_object"},
        None,
    ]


def test_the_example_of_the_prompt_is_no_reply() -> None:
    prompts = Prompts(PROMPTS)
    for task, echo in (
        (Extract(id="1", question="?", answer="A."), '{"facts": ["first fact", "second fact"]}'),
        (Rephrase(id="1", question="?", text="A."), '{"text": "the text in other words"}'),
    ):
        with pytest.raises(ValueError, match="found the prompt's own example"):
            read_reply(task, echo, prompts.messages(task))
    # A verdict may well be that of the example.
    judge = Judge(id="1", question="?", aspect="a", definition="b.", reference="r", first="x", second="y")
    assert read_reply(judge, '{"verdict": "first"}', prompts.messages(judge)) == Preferral(verdict="first")
