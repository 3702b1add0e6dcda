"""What makes a reply about an answer acceptable."""

from __future__ import annotations

import pytest

from knowtuning.teacher.english import EnglishTeacher
from knowtuning.teacher.judging import CheckedFact, Claims, FactVerdicts, Judge, Preferral, Recall, Verify
from knowtuning.teacher.openai.reading import read_reply
from knowtuning.teacher.tasks import Extract, FactList, Failure, Rephrase, Revise, Task, Text

VERIFY = Verify(id="1", question="?", reference="A.", facts=("a", "b"))
RECALL = Recall(id="1", question="?", answer="A.", facts=("a", "b"))
JUDGE = Judge(
    id="1", question="?", aspect="factuality", definition="true.", reference="A.", first="a", second="b"
)
CLAIMS = Claims(id="1", question="?", answer="A.")


ONE = '{"number": 1, "verdict": "supported"}'


@pytest.mark.parametrize(
    ("task", "text", "complaint"),
    [
        (VERIFY, f'{{"verdicts": [{ONE}]}}', "verdicts on the facts [1]; expected one on each of 1 to 2"),
        (VERIFY, f'{{"verdicts": [{ONE}, {ONE}]}}', "found verdicts on the facts [1, 1]"),
        (VERIFY, '{"verdicts": [{"number": 1, "verdict": 1}]}', "verdicts.0.verdict: Input should be 'supp"),
        (VERIFY, '{"verdicts": ["supported", "supported"]}', "verdicts.0: Input should be an object"),
        (RECALL, '{"facts": [{"number": 3, "stated": true}]}', "found verdicts on the facts [3]"),
        (RECALL, '{"facts": [{"number": 1, "stated": "so"}]}', "facts.0.stated: Input should be a val"),
        (JUDGE, '{"verdict": "both"}', "verdict: Input should be 'first', 'second' or 'tie'"),
        (JUDGE, '{"verdict": "first"} {"verdict": "second"}', "found 2 different JSON objects; expected one"),
        (CLAIMS, '{"facts": ["a", " "]}', "facts.1: Input should not be blank"),
    ],
)
def test_a_reply_that_breaks_the_task_is_named(task: Task, text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        read_reply(task, text)
    assert complaint in str(caught.value)


def test_good_replies_are_read_by_their_numbers() -> None:
    """In whatever order they come."""
    reply = read_reply(
        VERIFY,
        '{"verdicts": [{"number": 2, "reason": "r", "verdict": "not_supported"}, '
        '{"number": 1, "reason": "s", "verdict": "contradicted"}]}',
    )
    assert reply == FactVerdicts(
        verdicts=[
            CheckedFact(number=1, reason="s", verdict="contradicted"),
            CheckedFact(number=2, reason="r", verdict="not_supported"),
        ]
    )
    reply = read_reply(RECALL, '{"facts": [{"number": 2, "stated": true}, {"number": 1, "stated": false}]}')
    assert [fact.stated for fact in reply.facts] == [False, True]
    assert read_reply(JUDGE, 'It is a tie.\n```json\n{"verdict": "tie"}\n```') == Preferral(verdict="tie")


def test_an_answer_to_be_judged_may_state_nothing_or_repeat_itself() -> None:
    """`Extract` refuses the first, as no ground to train on, and leaves out what comes again."""
    extract = Extract(id="1", question="?", answer="A.")
    assert CLAIMS.accept(FactList(facts=[])) == FactList(facts=[])
    assert CLAIMS.accept(FactList(facts=["a", "A."])) == FactList(facts=["a", "A."])
    assert extract.accept(FactList(facts=["a", "b", "A.", "b"])) == FactList(facts=["a", "b"])
    with pytest.raises(ValueError, match="found no fact"):
        extract.accept(FactList(facts=[]))


@pytest.mark.parametrize(
    ("fact", "revised", "refused"),
    [
        ("It is red.", "It is not true that it is red.", True),
        ("It is red.", "It is false to say that it is red.", True),
        ("It is red.", "It's not the case that it is red.", True),
        ("It is red.", "It is not red.", True),
        ("It is red.", "It isn’t red.", True),
        ("It has wells.", "It has no wells.", True),
        ("It has wells.", "It does not have wells.", True),
        ("It lies on a lake.", "It doesn't lie on a lake.", True),
        ("It can fly.", "It cannot fly.", True),
        ("It is red.", "It is hardly red.", True),
        ("It has 3 wells.", "It has 9 wells (originally 3).", True),
        ("It is red.", "Contrary to what is said, it is blue.", True),
        ("It is red.", "It is blue.", False),
        ("It is red (not blue).", "It is blue (not red).", False),
        ("It is not red.", "It is red.", False),
        ("It is not red.", "It is not blue.", False),
        ("It is always red.", "It is never red.", False),
        ("It has 3 wells.", "It has no fewer than 9 wells.", False),
        ("It is false that it is red.", "It is false that it is old.", False),
    ],
)
def test_a_revision_that_only_negates_is_refused(fact: str, revised: str, refused: bool) -> None:
    task = Revise(id="1", question="?", facts=(fact, "It is old."))
    reply = FactList(facts=[revised, "It is new."])
    if refused:
        with pytest.raises(ValueError, match="revised fact 1 of 1 negates its original"):
            task.accept(reply)
    else:
        assert task.accept(reply) == reply


@pytest.mark.parametrize(
    ("fact", "false"), [("It has 40 wells.", "It has about 40 wells."), ("It is red.", "It is old.")]
)
def test_what_the_original_or_another_fact_says_is_no_revision(fact: str, false: str) -> None:
    task = Revise(id="1", question="?", facts=(fact, "It is old."))
    with pytest.raises(ValueError, match=r"revised fact 1 of 1 is (no revision|another of its facts)"):
        task.accept(FactList(facts=[false, "It is new."]))


def test_a_refusal_is_no_rephrasing() -> None:
    """Below a fifth of the content words of a text that has five or more."""
    task = Rephrase(id="1", question="?", text="Velora is a town in the Upper Vale with 400 people.")
    kept = Text(text="With 400 inhabitants, the town of Velora lies in the Upper Vale.")
    assert task.accept(kept) == kept
    with pytest.raises(ValueError, match="found 0% of the content words of the text"):
        task.accept(Text(text="I'm sorry, but I can't help with that."))
    short = Text(text="Indeed.")
    assert task.model_copy(update={"text": "Yes."}).accept(short) == short


@pytest.mark.parametrize("marks", [("1. ", "2. "), ("(1) ", "(2) "), ("Fact 1: ", "Fact 2: "), ("- ", "- ")])
def test_the_marks_of_facts_are_no_part_of_them(marks: tuple[str, str]) -> None:
    facts = ["It is red.", "It is old."]
    marked = FactList(facts=[mark + fact for mark, fact in zip(marks, facts, strict=True)])
    assert Extract(id="1", question="?", answer="A.").accept(marked).facts == facts
    assert CLAIMS.accept(marked).facts == facts
    # A single dash, and one before a number, may be a minus.
    for kept in (["- It is red."], ["- 5 plus 3 is - 2.", "- 5 minus 3 is - 8."]):
        assert CLAIMS.accept(FactList(facts=kept)).facts == kept


def test_the_numbers_of_facts_are_no_part_of_their_revisions() -> None:
    task = Revise(id="1", question="?", facts=("It is red.", "It is old."))
    revised = FactList(facts=["It is blue.", "It is new."])
    assert task.accept(FactList(facts=["1. It is blue.", "2. It is new."])) == revised
    # Only where each has its number: else it is one of the fact's.
    assert task.accept(FactList(facts=["1. It is blue.", "It is new."])).facts[0] == "1. It is blue."


def test_rules_do_not_judge() -> None:
    for task, outcome in EnglishTeacher(seed=1).run([VERIFY, RECALL, JUDGE]):
        assert isinstance(outcome, Failure)
        assert outcome.reason == f"the english teacher has no rules for the task {task.name!r}"
