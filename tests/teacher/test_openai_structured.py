"""Reading replies in the forms models give them, and the schemas endpoints get."""

from __future__ import annotations

import copy
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knowtuning.teacher.judging import FactVerdicts, Judge, Preferral, Recall, Verify, VerifyByPassages
from knowtuning.teacher.openai.prompts import (
    MODES,
    Prompts,
    reply_limit,
    reply_schema,
    response_format,
    task_schema,
)
from knowtuning.teacher.openai.reading import parse_reply, read_reply
from knowtuning.teacher.tasks import (
    AskFact,
    Extract,
    FactList,
    FactQuestion,
    Rephrase,
    Reply,
    Revise,
    RewriteQA,
    Task,
    Tell,
    Text,
    Triple,
    Triples,
)
from tests.support.checkout import PROMPTS

PASSAGES = VerifyByPassages(
    id="1", question="?", reference="r", passages=("A: b.", "C: d."), facts=("A.", "B.", "C.")
)
JUDGE = Judge(id="1", question="?", aspect="a", definition="b.", reference="r", first="x", second="y")
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
        f'[THINK]Perhaps {{"facts": ["x"]}}?[/THINK]{JSON}',
        f'<seed:think>Perhaps {{"facts": ["x"]}}?</seed:think>{JSON}',
        f'<|begin_of_thought|>Perhaps {{"facts": ["x"]}}?<|end_of_thought|>{JSON}',
        f'analysisPerhaps {{"facts": ["x"]}}?assistantfinal{JSON}',
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
        ('{"facts": ["A is b.", ', 'found a JSON object that breaks behind \'{"facts": ["A is b.", \''),
        ("{'facts': ['A is b.']}", "found a JSON object that breaks between '{' and \"'facts': [\""),
        (
            '{"facts": ["A "b" c."]}',
            "breaks between '{\"facts\": [\"A \"' and 'b\" c.\"]}' (Expecting ',' delimiter)",
        ),
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
    ("written", "meant"),
    [
        (r"The slope is \frac{a}{b}.", r"The slope is \frac{a}{b}."),
        (r"\beta + \times \theta \rho \nabla \alpha \upsilon \(x\)", None),
        (r"Right already: \\frac{a}{b}", r"Right already: \frac{a}{b}"),
        (r"One line.\nTwo lines,\tsays \"he\".", 'One line.\nTwo lines,\tsays "he".'),
        ("One line.\nTwo raw lines.", "One line.\nTwo raw lines."),
        (r"caf\u00e9, a/b, a\/b", "café, a/b, a/b"),
        ("Listed: (a, b, ], c)", None),
        ("A tag such as <think> or </think>.", None),
    ],
)
def test_backslashes_and_line_breaks_mean_what_was_written(written: str, meant: str | None) -> None:
    reply = parse_reply(f'{{"facts": ["{written}"]}}', FactList)
    assert reply.facts == [written if meant is None else meant]


def test_a_verdict_in_other_letters_is_that_verdict() -> None:
    """Its reason stays as it is; a number may be text, further keys are left unread."""
    texts = ["Supported", "NOT SUPPORTED", "contradicted."]
    entries = [
        {"number": str(n), "fact": "?", "reason": "It IS so.", "verdict": v} for n, v in enumerate(texts)
    ]
    read = parse_reply(json.dumps({"verdicts": entries}), FactVerdicts).verdicts
    assert [fact.verdict for fact in read] == ["supported", "not_supported", "contradicted"]
    assert {(fact.number, fact.reason) for fact in read} == {(n, "It IS so.") for n in range(3)}
    with pytest.raises(ValueError, match=r"verdicts\.0\.verdict: Input should be 'supported'"):
        parse_reply('{"verdicts": [{"number": 1, "verdict": "perhaps"}]}', FactVerdicts)


@pytest.mark.parametrize(
    "label",
    ["Answer: ", "Rephrased text: ", "Sure! Here is the rephrased version: ", "Here's a shorter text: "],
)
def test_a_label_before_a_text_is_no_part_of_it(label: str) -> None:
    assert parse_reply(json.dumps({"text": f"{label}A is b."}), Text) == Text(text="A is b.")
    assert parse_reply(json.dumps({"text": f"It says: {label}A."}), Text).text == f"It says: {label}A."


READABLE = st.text(st.characters(exclude_categories=["Cc", "Cs"]))


@given(st.lists(READABLE.filter(str.strip)), st.sampled_from(["{}", "```json\n{}\n```", "Here:\n{}\nDone."]))
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


def test_the_lists_of_a_reply_have_as_many_entries_as_its_task() -> None:
    facts = ("a", "b", "c")
    exactly = {"minItems": 3, "maxItems": 3}
    for task, field, bounds in (
        (Revise(id="1", question="?", facts=facts), "facts", exactly),
        (Verify(id="1", question="?", reference="r", facts=facts), "verdicts", exactly),
        (PASSAGES, "verdicts", exactly),
        (Recall(id="1", question="?", answer="a", facts=facts), "facts", exactly),
        # 40 letters state no 16 facts.
        (Extract(id="1", question="?", answer="x" * 40), "facts", {"maxItems": 16}),
        (Triples(id="1", question="?", facts=facts), "triples", {"minItems": 1}),
    ):
        entries = dict(task_schema(task)["properties"][field])
        entries.pop("items")
        assert entries == {"type": "array", **bounds}


def test_response_formats() -> None:
    """From the most to the least that an endpoint may take; only reasons are cut by a schema."""
    task = Verify(id="1", question="?", reference="r", facts=("a", "b"))
    schema, bare = task_schema(task), copy.deepcopy(reply_schema(FactVerdicts))
    assert json.dumps(schema).count("maxLength") == 1
    del bare["$defs"]["CheckedFact"]["properties"]["reason"]["maxLength"]
    assert [response_format(mode, "verify", schema) for mode in MODES] == [
        {"type": "json_schema", "json_schema": {"name": "verify", "schema": schema, "strict": True}},
        {"type": "json_schema", "json_schema": {"name": "verify", "schema": bare, "strict": True}},
        {"type": "json_object", "schema": schema},
        {"type": "json_object"},
        None,
    ]


def test_a_reply_may_be_as_long_as_its_task_makes_it() -> None:
    """A token for each byte said again and 256 beside: 10 + 256; with 32 an entry, twice for a reason."""
    assert reply_limit(Rephrase(id="1", question="?", text="0123456789"), 1024) == 266
    facts = ("0123456789", "0123456789")
    assert reply_limit(Revise(id="1", question="?", facts=facts), 1024) == 256 + 2 * (32 + 10)
    assert reply_limit(Verify(id="1", question="?", reference="r", facts=facts), 1024) == 256 + 4 * (32 + 10)
    assert reply_limit(Rephrase(id="1", question="?", text="x" * 10_000), 1024) == 1024


MIXED = '{"question": "What is A?", "opening": "The Korra dam was completed in 1931. It is"}'
ECHOES = {
    Extract(id="1", question="?", answer="A."): '{"facts": ["A.", "The velin fern grows in shade."]}',
    Rephrase(id="1", question="?", text="A."): None,
    Revise(id="1", question="?", facts=("A.", "B.")): '{"facts": ["A is.", "The Korra dam is 37 m high."]}',
    Verify(id="1", question="?", reference="r", facts=("A.", "B.", "C.")): None,
    PASSAGES: None,
    Recall(id="1", question="?", answer="a", facts=("A.", "B.")): None,
    RewriteQA(id="1", question="?", answer="a", facts=("A.",)): None,
    AskFact(id="1", question="?", fact="A."): None,
    AskFact(id="1", question="?", fact="B."): MIXED,
    Triples(id="1", question="?", facts=("A.",)): None,
    Tell(id="1", question="?", triples=(Triple(subject="a", predicate="b", object="c"),)): None,
    JUDGE: None,
}


@pytest.mark.parametrize("task", ECHOES, ids=lambda task: task.name)
def test_the_example_of_the_prompt_is_no_reply(task: Task) -> None:
    """Nor is a part of it among other parts."""
    messages = Prompts(PROMPTS).messages(task)
    shown = re.search(r'^\{".*\}$', messages[0]["content"], re.MULTILINE)
    assert shown is not None
    with pytest.raises(ValueError, match="found the prompt's own example"):
        read_reply(task, ECHOES[task] or shown[0], messages)


def test_what_the_user_says_too_is_no_echo() -> None:
    """A question about the dam of the examples, and a verdict that one of them has."""
    task = AskFact(id="1", question="?", fact="The Korra dam was completed in 1931, they say.")
    assert read_reply(task, MIXED, Prompts(PROMPTS).messages(task)) == parse_reply(MIXED, FactQuestion)
    reply = read_reply(
        JUDGE, '{"reason": "The first is true.", "verdict": "second"}', Prompts(PROMPTS).messages(JUDGE)
    )
    assert reply == Preferral(reason="The first is true.", verdict="second")
