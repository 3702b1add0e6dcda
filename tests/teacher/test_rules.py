"""The rules teacher: golden cases, the closed world, and properties over real answers."""

from __future__ import annotations

import json
import random
import re
import time
from pathlib import Path

import pytest

from knowtuning.core.text import normal_form
from knowtuning.teacher.rules import RulesTeacher, extract
from knowtuning.teacher.rules.rephrase import rephrase
from knowtuning.teacher.tasks import (
    Extract,
    FactList,
    Failure,
    QuestionAnswer,
    Rephrase,
    Reply,
    Revise,
    RewriteQA,
    Text,
)
from tests.support.checkout import SHARED

GOLDEN = json.loads((Path(__file__).parent / "golden" / "rules.json").read_text(encoding="utf-8"))
DATA = SHARED / "dolly_train.json"

TOWNS = ["Velora", "Kest", "Ormund", "Tarnwick", "Sel Marrow", "Dunby", "Harrowgate", "Lissen"]
FORMS = {
    "region": ("{} lies in the {}.", ["Upper Vale", "Salt Coast", "Grey Fens"]),
    "founder": ("{} was founded by {}.", ["Marn Tessel", "Orl Venn", "Ida Korth"]),
    "export": ("The main export of {} is {}.", ["amber", "wool", "salted cod"]),
    "dish": ("{} is known for its {}.", ["salted plums", "smoked eel", "pear tart"]),
    "century": ("{} dates from the {} century.", ["9th", "12th", "14th"]),
    "site": ("{} is located in the {}.", ["Upper Vale", "Salt Coast", "Grey Fens"]),
}


def town_facts(town: str, number: int) -> list[str]:
    """Facts of the number-th town; every value of an attribute occurs in every third town."""
    return [form.format(town, values[number % 3]) for form, values in FORMS.values()]


WORLD = {town: town_facts(town, number) for number, town in enumerate(TOWNS)}
CORPUS = [fact for facts in WORLD.values() for fact in facts]


def reply_of(teacher: RulesTeacher, task: Extract | Revise | Rephrase | RewriteQA) -> Reply:
    [(same, reply)] = list(teacher.run([task]))
    assert same is task
    assert isinstance(reply, Reply), reply
    return reply


@pytest.mark.parametrize("case", GOLDEN["extract"], ids=lambda case: case["name"])
def test_extract_golden(case: dict) -> None:
    assert extract(case["answer"]) == case["facts"]


@pytest.mark.parametrize("case", GOLDEN["rewrite"], ids=lambda case: case["question"])
def test_rewrite_golden(case: dict) -> None:
    task = RewriteQA(id="r", question=case["asked"], answer="-", facts=tuple(case["facts"]))
    reply = reply_of(RulesTeacher(seed=0, corpus=CORPUS), task)
    assert isinstance(reply, QuestionAnswer)
    assert reply.question == case["question"]
    assert reply.answer == " ".join(case["facts"])


@pytest.mark.parametrize("case", GOLDEN["rephrase"], ids=lambda case: case["text"][:30])
def test_rephrase_golden(case: dict) -> None:
    assert rephrase(0, "r", case["text"]) == case["rephrased"]


@pytest.mark.parametrize("case", GOLDEN["revise"], ids=lambda case: case["fact"])
def test_revise_golden(case: dict) -> None:
    """`one_of` lists every false sentence that the rule may make; which one is the seed's choice."""
    for seed in range(5):
        task = Revise(id="r", question=case["question"], facts=(case["fact"],))
        reply = reply_of(RulesTeacher(seed=seed), task)
        assert isinstance(reply, FactList)
        assert reply.facts[0] in case["one_of"]


def test_simple_sentences_of_a_world_are_extracted_verbatim() -> None:
    for facts in WORLD.values():
        assert extract(" ".join(facts)) == facts
        assert extract("\n- ".join(["", *facts])) == facts


def test_revised_world_facts_hold_another_value_of_the_same_attribute() -> None:
    """The set of false sentences is known exactly: same town and template, another of three values."""
    teacher = RulesTeacher(seed=3, corpus=CORPUS)
    for number, (town, facts) in enumerate(WORLD.items()):
        task = Revise(id=town, question=f"Tell me about the town of {town}.", facts=tuple(facts))
        reply = reply_of(teacher, task)
        assert isinstance(reply, FactList)
        for revised, (form, values) in zip(reply.facts, FORMS.values(), strict=True):
            others = {form.format(town, value) for value in values} - {form.format(town, values[number % 3])}
            assert revised in others


def test_one_more_town_changes_only_choices_that_fall_on_its_values() -> None:
    """Rendezvous hashing: a revision changes only to a value that the new town brought."""
    new = [
        "Brask lies in the High Moor.",
        "Brask was founded by Pell Anders.",
        "The main export of Brask is tin.",
    ]
    before, after = RulesTeacher(seed=1, corpus=CORPUS), RulesTeacher(seed=1, corpus=[*CORPUS, *new])
    changed = 0
    for town, facts in WORLD.items():
        task = Revise(id=town, question=f"Tell me about {town}.", facts=tuple(facts))
        old, young = reply_of(before, task), reply_of(after, task)
        assert isinstance(old, FactList)
        assert isinstance(young, FactList)
        for one, other in zip(old.facts, young.facts, strict=True):
            changed += one != other
            assert one == other or re.search("High Moor|Pell Anders|tin", other)
    # 24 of the 48 facts have an attribute the new town touches, each with one new value beside two old
    # ones: 8 changes are expected, and 20 would be beyond four standard deviations (2.3).
    assert changed < 20


def test_a_blank_answer_is_a_failure_and_not_an_exception() -> None:
    [(_, outcome)] = list(RulesTeacher(seed=0).run([Extract(id="x", question="q", answer=" . ")]))
    assert isinstance(outcome, Failure)
    assert "fact 1 is empty" in outcome.reason


@pytest.fixture(scope="module")
def dolly() -> list[dict]:
    if not DATA.exists():
        pytest.skip(f"no {DATA.name} beside the checkout")
    rows = json.loads(DATA.read_text(encoding="utf-8"))
    return random.Random(0).sample(rows, 300)


@pytest.fixture(scope="module")
def atoms(dolly: list[dict]) -> list[list[str]]:
    return [extract(row["output"]) for row in dolly]


def test_real_answers_keep_their_words_in_order(dolly: list[dict], atoms: list[list[str]]) -> None:
    """Every answer gives facts, and each fact's longest word occurs in the answer."""
    for row, facts in zip(dolly, atoms, strict=True):
        assert facts
        assert len({normal_form(fact) for fact in facts}) == len(facts)
        for fact in facts:
            assert max(re.findall(r"\w+", fact) or [""], key=len).casefold() in row["output"].casefold()


def test_real_revisions_are_false_distinct_and_complete(dolly: list[dict], atoms: list[list[str]]) -> None:
    corpus = [fact for facts in atoms for fact in facts]
    true = {normal_form(fact) for fact in corpus}
    tasks = [
        Revise(id=str(number), question=row["instruction"], facts=tuple(facts))
        for number, (row, facts) in enumerate(zip(dolly, atoms, strict=True))
    ]
    outcomes = list(RulesTeacher(seed=2, corpus=corpus).run(tasks))
    assert [task.id for task, _ in outcomes] == [task.id for task in tasks]
    for task, reply in outcomes:
        assert isinstance(task, Revise)
        assert isinstance(reply, FactList)
        forms = {normal_form(fact) for fact in reply.facts}
        assert len(forms) == len(task.facts)
        assert not forms & true
    again = list(RulesTeacher(seed=2, corpus=corpus).run(reversed(tasks)))
    assert again == outcomes[::-1]


def test_real_questions_end_as_questions(dolly: list[dict], atoms: list[list[str]]) -> None:
    teacher = RulesTeacher(seed=2, corpus=[fact for facts in atoms for fact in facts])
    for row, facts in zip(dolly, atoms, strict=True):
        task = RewriteQA(id="x", question=row["instruction"], answer=row["output"], facts=tuple(facts[::2]))
        reply = reply_of(teacher, task)
        assert isinstance(reply, QuestionAnswer)
        assert reply.question.endswith("?")
        assert reply.answer == " ".join(facts[::2])


def test_rephrasing_keeps_numbers_names_and_negation(dolly: list[dict]) -> None:
    """Names: capitalised words inside a sentence; negation: the count of not/n't/no/never/cannot."""
    for number, row in enumerate(dolly):
        text = row["output"]
        reply = reply_of(RulesTeacher(seed=5), Rephrase(id=str(number), question="q", text=text))
        assert isinstance(reply, Text)
        for pattern in (r"\d+", r"(?<=[a-z,] )[A-Z][\w-]+", r"n['’]t\b|\b(?:not|no|never|none)\b|\bcannot\b"):
            kept = re.findall(pattern, reply.text)
            wanted = re.findall(pattern, text)
            assert len(kept) == len(wanted)
            if "n['’]t" not in pattern:
                assert kept == wanted


def test_a_sentence_is_worded_alike_in_two_texts_of_a_record() -> None:
    """Chosen and rejected of a pair may differ in facts, never in the wording of a shared one."""
    shared = "Velora was founded by Marn Tessel and is known for amber, for example."
    for record_id in map(str, range(20)):
        alone = rephrase(0, record_id, shared)
        assert alone != shared
        assert rephrase(0, record_id, f"Kest is usually cold. {shared}").endswith(alone)
        assert rephrase(0, record_id, f"{shared} It was founded by sailors.").startswith(alone)


def test_speed(dolly: list[dict], atoms: list[list[str]]) -> None:
    """Processor time for 300 real answers through all four tasks: 4,000 take under a minute so."""
    corpus = [fact for facts in atoms for fact in facts]
    start = time.process_time()
    teacher = RulesTeacher(seed=0, corpus=corpus)
    for number, (row, facts) in enumerate(zip(dolly, atoms, strict=True)):
        given = {"id": str(number), "question": row["instruction"]}
        reply_of(teacher, Extract(answer=row["output"], **given))
        reply_of(teacher, Revise(facts=tuple(facts), **given))
        reply_of(teacher, RewriteQA(answer=row["output"], facts=tuple(facts), **given))
        reply_of(teacher, Rephrase(text=row["output"], **given))
    assert time.process_time() - start < 4.5
