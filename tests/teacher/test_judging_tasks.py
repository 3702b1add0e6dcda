"""What makes a reply about an answer acceptable."""

from __future__ import annotations

import pytest

from knowtuning.teacher.english import EnglishTeacher
from knowtuning.teacher.judging import (
    Claims,
    FactVerdicts,
    Judge,
    Preferral,
    Recall,
    Stated,
    Verify,
)
from knowtuning.teacher.openai.calls import read_reply
from knowtuning.teacher.tasks import FactList, Failure, Task

VERIFY = Verify(id="1", question="?", reference="A.", facts=("a", "b"))
RECALL = Recall(id="1", question="?", answer="A.", facts=("a", "b"))
JUDGE = Judge(
    id="1", question="?", aspect="factuality", definition="true.", reference="A.", first="a", second="b"
)
CLAIMS = Claims(id="1", question="?", answer="A.")


@pytest.mark.parametrize(
    ("task", "text", "complaint"),
    [
        (VERIFY, '{"verdicts": ["supported"]}', "found 1 verdicts; expected 2"),
        (VERIFY, '{"verdicts": ["supported", "true"]}', "verdicts.1: Input should be 'supported'"),
        (RECALL, '{"stated": [true, false, true]}', "found 3 verdicts; expected 2"),
        (RECALL, '{"stated": ["yes", "no"]}', "stated.0: Input should be a valid boolean"),
        (JUDGE, '{"verdict": "both"}', "verdict: Input should be 'first', 'second' or 'tie'"),
        (JUDGE, '{"verdict": "first"} {"verdict": "second"}', "found 2 different JSON objects; expected one"),
        (CLAIMS, '{"facts": ["a", " "]}', "fact 2 is empty"),
    ],
)
def test_a_reply_that_breaks_the_task_is_named(task: Task, text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        read_reply(task, text)
    assert complaint in str(caught.value)


def test_good_replies_are_read_in_order() -> None:
    verdicts = ["contradicted", "not_supported"]
    assert read_reply(VERIFY, '{"verdicts": ["contradicted", "not_supported"]}') == FactVerdicts(
        verdicts=verdicts
    )
    assert read_reply(RECALL, '{"stated": [false, true]}') == Stated(stated=[False, True])
    assert read_reply(JUDGE, 'It is a tie.\n```json\n{"verdict": "tie"}\n```') == Preferral(verdict="tie")


def test_an_answer_may_state_nothing_or_repeat_itself() -> None:
    """`Extract` refuses both, as no ground to train on; of an answer to be judged they are findings."""
    for facts in ([], ["a", "A."]):
        CLAIMS.check(FactList(facts=facts))


def test_rules_do_not_judge() -> None:
    for task, outcome in EnglishTeacher(seed=1).run([VERIFY, RECALL, JUDGE]):
        assert isinstance(outcome, Failure)
        assert outcome.reason == f"the english teacher has no rules for the task {task.name!r}"
