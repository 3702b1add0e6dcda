"""How sure the base model is of a fact: questions, short answers, bins and shares by hand."""

from __future__ import annotations

import pytest

from knowtuning.baselines import facttune as mc
from knowtuning.teacher.english import EnglishTeacher
from knowtuning.teacher.judging import Claims
from knowtuning.teacher.tasks import AskFact, FactList, FactQuestion, Failure
from knowtuning.teacher.world import WorldTeacher
from tests.baselines.test_pairs import sample


@pytest.mark.parametrize(
    ("answers", "sizes"),
    [
        # Case, punctuation, articles and plural s do not count.
        (["The Ports.", "port", "a PORT!", "salt"], {"The Ports.": 3, "salt": 1}),
        # Equal sets of words; one closes or opens the other.
        (["Anna Lind", "Lind, Anna", "Dr. Anna Lind", "Anna Lind of Bor"], {"Anna Lind": 4}),
        # In the middle of another is neither.
        (["Lind", "Anna Lind of Bor"], {"Lind": 1, "Anna Lind of Bor": 1}),
        (["", "...", "salt"], {"": 2, "salt": 1}),
    ],
)
def test_answers_that_say_the_same_share_a_bin(answers: list[str], sizes: dict[str, int]) -> None:
    assert mc.bins(answers) == sizes


def test_confidence_is_the_share_of_the_largest_bin_and_silence_is_none() -> None:
    assert mc.confidence({"salt": 3, "wool": 1}) == 0.75
    assert mc.confidence({"": 3, "salt": 1}) == 0.25
    assert mc.confidence({"": 4}) == 0.0


def test_a_short_answer_ends_with_its_sentence_or_line() -> None:
    assert mc.short_answer(" salt. It lies in the hills.") == "salt."
    assert mc.short_answer("salt\nQuestion: what else?") == "salt"
    assert mc.short_answer("1897. It lies in the hills.") == "1897."


def test_a_full_stop_of_an_abbreviation_ends_no_answer() -> None:
    names = ["St. Louis", "St. Paul", "J. K. Rowling", "J. R. R. Tolkien", "Dr. Lind"]
    assert [mc.short_answer(f"{name}. She wrote it.") for name in names] == [f"{name}." for name in names]
    # Four answers that differ are no certainty.
    counts = mc.bins(map(mc.short_answer, names[:4]))
    assert mc.confidence(counts) == 0.25


WORLD = WorldTeacher(seed=1)
TRUE, FALSE = "The main export of Aford is tin.", "Aford mainly exports wool."


def test_in_the_world_the_question_is_the_same_for_all_values_and_wordings() -> None:
    tasks = [AskFact(id=str(n), question="Tell me.", fact=fact) for n, fact in enumerate([TRUE, FALSE])]
    (_, first), (_, second) = WORLD.run(tasks)
    assert isinstance(first, FactQuestion)
    assert first == second
    assert first.question in ("What is the main export of Aford?", "What is the chief export of Aford?")
    assert first.opening in ("The main export of Aford is", "The chief export of Aford is")


def test_in_the_world_an_answer_states_what_can_be_read() -> None:
    answer = f"{TRUE} Its old of the is. {FALSE}"
    ((_, result),) = WORLD.run([Claims(id="1", question="Tell me.", answer=answer)])
    assert result == FactList(facts=[TRUE, FALSE])


def test_in_english_a_fact_without_a_template_is_left_out_with_its_reason() -> None:
    question = "What is glaucoma?"
    tasks = [
        AskFact(id="1", question=question, fact="Glaucoma is a group of eye diseases."),
        AskFact(id="2", question=question, fact="Wash your hands."),
    ]
    (_, first), (_, second) = EnglishTeacher(seed=1).run(tasks)
    assert first == FactQuestion(question="What is glaucoma?", opening="Glaucoma is")
    assert isinstance(second, Failure)
    assert second.expected
    assert "no question can ask for it" in second.reason


def test_facts_to_confidences() -> None:
    """Two samples state tin and wool; four of five answers to the one question agree."""
    samples = [sample(0, TRUE), sample(1, f"{FALSE} {TRUE} {TRUE}"), sample(2, "")]
    stated = mc.state(samples, WORLD)
    assert stated == mc.SampleFacts({"q/00": [TRUE], "q/01": [FALSE, TRUE], "q/02": []}, {})
    asked = mc.ask_for_facts(samples, stated, WORLD)
    assert [each.text for each in asked] == [TRUE, FALSE]
    reply = asked[0].reply
    assert isinstance(reply, FactQuestion)
    answers = {(reply.question, reply.opening): ["tin. And", "tin", "wool", "Tin", "the tin"]}
    rows = list(mc.confidences(asked, answers))
    assert [(row.text, row.confidence) for row in rows] == [(TRUE, 0.8), (FALSE, 0.8)]
    assert rows[0].answers == {"tin.": 4, "wool": 1}
