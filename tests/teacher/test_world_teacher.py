"""The closed world's teacher over a whole world: everything it writes is read back to what it was told."""

from __future__ import annotations

import re
from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from knowtuning.core.records import Facts, Pair
from knowtuning.core.storage import record_rng
from knowtuning.knowledge.aspects import ASPECTS, Perturbation
from knowtuning.knowledge.extract import extract
from knowtuning.knowledge.perturb import PerturbCounts, Settings, Style, perturb
from knowtuning.knowledge.results import Results
from knowtuning.teacher.judging import Judge
from knowtuning.teacher.tasks import Extract, Failure, Rephrase, Reply, Revise, RewriteQA, Task, Triples
from knowtuning.teacher.world import WorldTeacher
from knowtuning.world import World, build_world
from knowtuning.world.settings import Exposure, Towns, WorldParams
from knowtuning.world.verifier import Truth
from knowtuning.world.wording import BY_NAME, GENERAL, NAMES, Statement, corpus_sentences, read_text
from tests.support.oracle import facts_of
from tests.support.params import PARAMS

WORLD = build_world(
    WorldParams(
        towns=Towns(train=40, valid=4, test=8, guide=4),
        exposure=Exposure(common=4, rare=2, unseen=0, rare_share=0.15, unseen_share=0.1),
        prose=0.5,
        train_general=80,
        train_specific=160,
        keep_low=0.3,
        keep_high=1.0,
        disordered=0.0,
    ),
    5,
)
TRUTH = Truth(WORLD.truth["towns"])
EXAMPLES = {example.id: example for example in WORLD.train}


def reply(teacher: WorldTeacher, task: Task) -> Reply:
    ((_, outcome),) = teacher.run([task])
    assert isinstance(outcome, Reply), outcome
    return outcome


def extracted(world: World) -> list[Facts]:
    results = Results.of(extract(world.train, WorldTeacher(seed=1)))
    assert results.rejected == []
    return results.rows


FACTS = extracted(WORLD)
CORPUS = [fact for row in FACTS for fact in row.facts]
TEACHER = WorldTeacher(seed=1, corpus=CORPUS)


def pairs(style: Style, share: float = 1.0, records: Iterable[Facts] = FACTS) -> list[Pair]:
    how = Settings(style, list(ASPECTS), Perturbation(1, 0.5, share))
    results = Results.of(perturb(records, TEACHER, how, PerturbCounts()))
    assert results.rejected == []
    return results.rows


def test_the_corpus_is_read_back_prose_and_all() -> None:
    """But for the questions of its guide, which end in a question mark or are general ones."""
    messages = 0
    for line in WORLD.corpus:
        text = re.sub(r"^(?:[A-Z][^.?]*\?\s)+", "", line)
        for form in GENERAL:
            text = re.sub(f"^{re.escape(form).replace(re.escape('{e}'), '[A-Z][a-z]+')} ", "", text)
        facts = facts_of(text)
        assert all(TRUTH.holds(*fact) for fact in facts)
        messages += len(facts)
    assert messages >= sum(count for town in WORLD.truth["frequencies"].values() for count in town.values())


def test_every_fact_of_every_training_answer_is_extracted_word_for_word() -> None:
    for row in FACTS:
        assert row.facts == [clause for clause, _ in read_text(row.answer)]
        assert [fact for text in row.facts for fact in facts_of(text)] == facts_of(row.answer)


def test_facts_of_prose_stand_alone_in_its_words() -> None:
    # The last sentence says the first again.
    text = (
        "Aford lies in the Salt Coast, and it was founded by Ada Berg. Moreover, its best-known dish is "
        "figs. Aford celebrates Moon Fair. Aford is located in the Salt Coast."
    )
    ((_, outcome),) = TEACHER.run([Extract(id="q", question="Q?", answer=text)])
    assert outcome.model_dump() == {
        "facts": [
            "Aford lies in the Salt Coast.",
            "Aford was founded by Ada Berg.",
            "The best-known dish of Aford is figs.",
            "Aford celebrates Moon Fair.",
        ]
    }


def rephrased(row: Facts) -> str:
    task = Rephrase(id=row.id, question=row.question, text=row.answer)
    return str(reply(TEACHER, task).model_dump()["text"])


def test_rephrasing_says_the_same_in_the_same_order_and_other_words() -> None:
    for row in FACTS:
        prose = rephrased(row)
        assert facts_of(prose) == facts_of(row.answer)
        assert not {s.sentence for _, s in read_text(prose) if s} & set(row.facts)
        result = TRUTH.verify(EXAMPLES[row.id], prose)
        assert (result.correct, result.incorrect, result.unparsed, result.duplicate) == (
            len(row.facts),
            0,
            0,
            0,
        )


def test_prose_names_the_town_exactly_where_a_pronoun_would_be_unclear() -> None:
    for row in FACTS:
        clauses = list(read_text(rephrased(row)))
        topics = [None, *(s.topic for _, s in clauses if s)]
        for topic, (clause, statement) in zip(topics, clauses, strict=False):
            assert statement is not None
            assert (statement.entity in clause) == (topic is None)
        beginnings = [clause.split(" ")[0] for clause, _ in clauses]
        assert beginnings.count("Moreover,") <= 1
        assert beginnings.count("In") <= 1
        assert "and and" not in " ".join(beginnings), "two clauses a sentence at most"


@given(st.permutations(NAMES), st.integers(1, 8), st.sampled_from(sorted(TRUTH.towns)), st.integers(0, 9))
@settings(max_examples=300)
def test_prose_about_two_towns_in_any_order_is_laid_at_the_right_door(
    order: list[str], count: int, town: str, seed: int
) -> None:
    other = next(name for name in sorted(TRUTH.towns) if name != town)
    rng = record_rng(seed, "towns", town)
    messages = [(rng.choice([town, other]), attribute) for attribute in order[:count]]
    towns = TRUTH.towns
    text = " ".join(corpus_sentences(name, towns[name], [attribute], rng) for name, attribute in messages)
    prose = reply(WorldTeacher(seed=seed), Rephrase(id="q", question="Q?", text=text)).model_dump()["text"]
    assert facts_of(prose) == facts_of(text) == [(name, a, TRUTH.towns[name][a]) for name, a in messages]


@pytest.mark.parametrize("style", ["matched", "paper"])
def test_pairs_differ_in_what_they_are_named_for_and_in_nothing_else(style: Style) -> None:
    values = {fact[1:] for text in CORPUS for fact in facts_of(text)}
    for pair in pairs(style):
        chosen, rejected = facts_of(pair.chosen), facts_of(pair.rejected)
        assert all(TRUTH.holds(*fact) for fact in chosen)
        if pair.aspect == "completeness":
            assert rejected == [fact for fact in chosen if fact in rejected] != chosen
        if pair.aspect == "logicality":
            assert sorted(rejected) == sorted(chosen)
            assert rejected != chosen
        if pair.aspect == "factuality":
            # No true revision; the value alone is another, one that a town of the training set has.
            assert [fact[:2] for fact in rejected] == [fact[:2] for fact in chosen]
            assert not any(TRUTH.holds(*fact) for fact in rejected)
            assert {fact[1:] for fact in rejected} <= values
            assert not any(town == value for town, _, value in rejected)


def test_matched_texts_word_the_facts_they_share_alike() -> None:
    templates = {}
    for pair in pairs("matched"):
        for text in (pair.chosen, pair.rejected):
            for _, statement in read_text(text):
                assert isinstance(statement, Statement)
                key = (pair.source, statement.attribute)
                assert templates.setdefault(key, statement.template) == statement.template


def test_half_of_the_facts_revised_leaves_the_others_as_they_are() -> None:
    for row in FACTS:
        (pair,) = (p for p in pairs("paper", 0.5, [row]) if p.aspect == "factuality")
        messages = facts_of(row.answer)
        true = [fact for fact in facts_of(pair.rejected) if TRUTH.holds(*fact)]
        # Of n facts ceil(n / 2) are false, and so floor(n / 2) true.
        assert len(true) == len(messages) // 2
        assert set(true) <= set(messages)


def asked(question: str) -> dict[str, str]:
    """Attribute -> town of every request in a question, found by trying all requests."""
    requests = [(name, request) for name in NAMES for request in BY_NAME[name].requests]
    towns = {}
    parts = question.removesuffix("?").replace(", and ", ", ").split(", ")
    town = ""
    for part in parts:
        words = part[0].upper() + part[1:]
        for name, request in requests:
            before, after = request.rstrip("?").split("{e}")
            middle = words[len(before) : len(words) - len(after)]
            if words.startswith(before) and words.endswith(after) and " " not in middle:
                town = town if middle == "it" else middle
                towns[name] = town
    assert len(towns) == len(parts), question
    return towns


def test_rewrites_ask_for_their_facts_alone_and_answer_with_them() -> None:
    known = {e.question for e in [*WORLD.train, *WORLD.valid, *WORLD.test]}
    for row in FACTS:
        messages = row.facts[: max(1, len(row.facts) // 2)]
        task = RewriteQA(id=row.id, question=row.question, answer=row.answer, facts=tuple(messages))
        result = reply(TEACHER, task).model_dump()
        stated = facts_of(result["answer"])
        assert stated == [fact for text in messages for fact in facts_of(text)]
        assert asked(result["question"]) == {attribute: town for town, attribute, _ in stated}
        assert result["question"] not in known
        verified = TRUTH.verify(EXAMPLES[row.id], result["answer"])
        assert (verified.correct, verified.incorrect, verified.unparsed) == (len(messages), 0, 0)


def test_no_request_is_a_question_of_the_data() -> None:
    """So no rewrite of a single fact, of whatever world, equals a question that is held out."""
    questions = {*GENERAL, *(q for name in NAMES for q in BY_NAME[name].questions)}
    assert not questions & {request for name in NAMES for request in BY_NAME[name].requests}


def test_triples_are_the_facts() -> None:
    for row in FACTS:
        result = reply(
            TEACHER, Triples(id=row.id, question=row.question, facts=tuple(row.facts))
        ).model_dump()
        assert [(t["subject"], t["predicate"], t["object"]) for t in result["triples"]] == facts_of(
            row.answer
        )


def test_replies_depend_on_seed_task_and_corpus_alone() -> None:
    first = [pair.model_dump() for pair in pairs("matched")]
    backwards = WorldTeacher(seed=1, corpus=CORPUS[::-1])
    how = Settings("matched", list(ASPECTS), Perturbation(1, 0.5))
    again = Results.of(perturb(FACTS, backwards, how, PerturbCounts())).rows
    assert [pair.model_dump() for pair in again] == first
    other = WorldTeacher(seed=2, corpus=CORPUS)
    assert [p.model_dump() for p in Results.of(perturb(FACTS, other, how, PerturbCounts())).rows] != first


def test_one_more_value_changes_the_revisions_that_take_it_and_no_other() -> None:
    more = WorldTeacher(seed=1, corpus=[*CORPUS, "Newton was founded by Nova Newman."])
    tasks = [Revise(id=row.id, question=row.question, facts=tuple(row.facts)) for row in FACTS]
    changed = 0
    for (_, before), (_, after) in zip(TEACHER.run(tasks), more.run(tasks), strict=True):
        assert not isinstance(before, Failure)
        assert not isinstance(after, Failure)
        for old, new in zip(before.model_dump()["facts"], after.model_dump()["facts"], strict=True):
            assert new == old or "Nova Newman" in new
            changed += new != old
    founders = sum(attribute == "founder" for text in CORPUS for _, attribute, _ in facts_of(text))
    # One candidate of dozens: it takes about one revision of a founder in as many as there are candidates.
    assert changed < founders / 5


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("Paris is the capital of France.", "'Paris is the capital of France.'"),
        ("Aford lies in the Salt Coast. A fine place.", "'A fine place.'"),
        ("It lies in the Salt Coast.", "'It lies in the Salt Coast.'"),
        ("The old rival of Aford is Bham. It lies in the Salt Coast.", "'It lies in the Salt Coast.'"),
    ],
)
def test_a_text_that_is_not_the_worlds_is_one_clear_line(text: str, named: str) -> None:
    ((_, outcome),) = TEACHER.run([Extract(id="q", question="Q?", answer=text)])
    assert isinstance(outcome, Failure)
    assert outcome.reason == (
        f"{named} is no sentence of the closed world; the teacher world reads the data of prepare.source "
        "world alone; for other texts set teacher.backend to english or openai"
    )


def test_what_it_cannot_do_is_said() -> None:
    fact = "Aford lies in the Salt Coast."
    judge = Judge(id="q", question="Q?", aspect="a", definition="d", reference="r", first="f", second="s")
    two = Triples(id="q", question="Q?", facts=(f"{fact} {fact}",))
    alone = Revise(id="q", question="Q?", facts=(fact,))
    reasons = [outcome.reason for _, outcome in WorldTeacher(seed=1, corpus=[fact]).run([judge, two, alone])]
    assert reasons == [
        "the world teacher has no rules for the task 'judge'",
        f"{fact + ' ' + fact!r} states 2 facts; expected one",
        "no other region than 'Salt Coast' in all facts; expected another town's to revise it to; raise "
        "prepare.world.towns.train",
    ]


def test_it_is_the_teacher_of_the_default_run() -> None:
    assert (PARAMS["teacher"]["backend"], PARAMS["prepare"]["source"]) == ("world", "world")
