"""Counts of facts raw and distinct, and what a failed step leaves behind, worked out by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from knowtuning.core.records import Example, Prediction, Sentence, Verdict
from knowtuning.evaluation.fact_metrics import fact_metrics, tally
from knowtuning.evaluation.metrics import MetricInputs, score_answers
from knowtuning.evaluation.stats import Resampling
from knowtuning.teacher.judging import (
    CheckedFact,
    Claims,
    FactVerdict,
    FactVerdicts,
    Recall,
    SoughtFact,
    Stated,
    Verify,
)
from knowtuning.teacher.tasks import FactList, Failure, Outcome, Task
from knowtuning.verification.answer_facts import ask_once, check_answers
from tests.support.records import prediction
from tests.support.scripted_teacher import ScriptedTeacher

HOW = Resampling(seed=1, resamples=1000)
EXAMPLE = Example(id="q", question="What is it?", answer="It is red. It is round.")
LOST = Failure(reason="no reply")


def verdicts(*of: FactVerdict) -> FactVerdicts:
    return FactVerdicts(verdicts=[CheckedFact(number=n, verdict=v) for n, v in enumerate(of, 1)])


def stated(*of: bool) -> Stated:
    return Stated(facts=[SoughtFact(number=n, stated=each) for n, each in enumerate(of, 1)])


def scripted(verified: Outcome = LOST, recalled: Outcome = LOST, *, lost: str = "") -> ScriptedTeacher:
    """Answers by the kind of task: extraction by sentence but for the answer `lost`, the rest as given."""

    def reply(task: Task) -> Outcome:
        if not isinstance(task, Claims):
            return verified if isinstance(task, Verify) else recalled
        facts = [part.strip() for part in task.answer.split(".") if part.strip()]
        return LOST if task.answer == lost else FactList(facts=facts)

    return ScriptedTeacher(reply)


def predictions(answer: str) -> list[Prediction]:
    return [prediction("q", answer, EXAMPLE.question)]


def test_tally_counts_statements_and_distinct_facts() -> None:
    output: list[tuple[str, Verdict]] = [
        ("It is red.", "correct"),
        ("it is  Red", "duplicate"),
        ("Scarlet it is.", "duplicate"),  # the exact verifier knows a fact in other words
        ("It is square.", "incorrect"),
        ("It is square", "incorrect"),
        ("It is nice.", "unparsed"),
        ("It is old.", "unverifiable"),
        ("It is big.", "unscored"),
    ]
    sentences = [Sentence(text=text, verdict=verdict) for text, verdict in output]
    assert tally(sentences, distinct=False) == {
        "correct": 3,
        "incorrect": 2,
        "unverifiable": 2,
        "unscored": 1,
    }
    assert tally(sentences, distinct=True) == {"correct": 1, "incorrect": 1, "unverifiable": 2, "unscored": 1}


def test_verdicts_of_distinct_facts_serve_their_repetitions(cache: Path) -> None:
    # Red three times in other letters, square once, then round twice: three distinct facts.
    answer = "It is red. it is Red. It is square. It is round. IT IS RED. It is round."
    teacher = scripted(verdicts("supported", "contradicted", "not_supported"), stated(True, False))
    (checked,) = check_answers([EXAMPLE], {"kc": predictions(answer)}, teacher)
    (verify,) = [task for task in teacher.tasks if isinstance(task, Verify)]
    assert verify.facts == ("It is red", "It is square", "It is round")
    assert [s.verdict for s in checked.sentences] == [
        *("correct", "duplicate", "incorrect", "unverifiable"),
        *("duplicate", "unverifiable"),
    ]
    # F1@K: 1 of 4 distinct or false statements is supported, 1 of K = 2; the mean of 1/4 and 1/2 is 1/3.
    assert checked.scores == {
        "correct": 1.0,
        "incorrect": 1.0,
        "unverifiable": 2.0,
        "duplicate": 2.0,
        "percent_correct": 50.0,
        "f1_at_k": 33.3333,
        "unscored": 0.0,
        "recall": 50.0,
    }
    answers = MetricInputs([EXAMPLE], predictions(answer), cache)
    leaf = fact_metrics(score_answers(answers, "kc", [checked]), HOW)["kc"]
    raw = {"correct": 3, "incorrect": 1, "unverifiable": 2, "unscored": 0, "total": 6}
    assert {name: leaf["raw"][name] for name in raw} == raw
    # 3 of 4 true or false, 3 of 6 with a verdict; distinct: 1 of 2 and 1 of 3.
    assert (leaf["raw"]["percent_correct"], leaf["raw"]["percent_supported"]) == (75.0, 50.0)
    distinct = leaf["distinct"]
    assert (distinct["total"], distinct["percent_correct"], distinct["percent_supported"]) == (
        3,
        50.0,
        33.3333,
    )
    assert (leaf["recall"], leaf["recall_low"], leaf["recall_unscored"]) == (50.0, 50.0, 0)


@pytest.mark.parametrize(
    ("answer", "teacher", "expected", "recall", "reasons"),
    [
        ("It is red.", scripted(lost="It is red."), [], None, ["extract: no reply", "recall: no reply"]),
        (
            "It is red. It is old.",
            scripted(recalled=stated(True, False)),
            ["unscored", "unscored"],
            50.0,
            ["verify: no reply"],
        ),
        (
            "It is red.",
            scripted(verdicts("supported"), lost=EXAMPLE.answer),
            ["correct"],
            None,
            ["extract the reference: no reply"],
        ),
        ("  ", scripted(), [], 0.0, []),
        # Something is said, and no fact is in it.
        ("...", scripted(recalled=stated(False, False)), [], 0.0, []),
    ],
)
def test_a_step_that_fails_is_named_and_leaves_the_others(
    answer: str, teacher: ScriptedTeacher, expected: list[Verdict], recall: float | None, reasons: list[str]
) -> None:
    (checked,) = check_answers([EXAMPLE], {"kc": predictions(answer)}, teacher)
    assert [s.verdict for s in checked.sentences] == expected
    assert checked.scores["recall"] == recall
    assert checked.unscored == reasons
    lost = any(reason.startswith(("extract:", "verify:")) for reason in reasons)
    assert checked.scores["unscored"] == (100.0 if lost else 0.0)
    assert (checked.scores["correct"] is None) == lost


def test_equal_answers_are_asked_about_once() -> None:
    teacher = scripted(verdicts("supported"), stated(True, False))
    same = predictions("It is red.")
    one, other = check_answers([EXAMPLE], {"kc": same, "sft": same}, teacher)
    assert (one.id, other.id) == ("q/kc", "q/sft")
    assert one.model_copy(update={"id": other.id, "system": other.system}) == other
    # The reference and one answer to extract, one to verify, one to look through.
    assert [type(task) for task in teacher.tasks] == [Claims, Claims, Verify, Recall]


def test_outcomes_come_back_to_every_task_in_order() -> None:
    tasks = [Claims(id=str(i), question="?", answer=answer) for i, answer in enumerate(("a.", "b.", "a."))]
    teacher = scripted()
    assert ask_once(teacher, tasks) == [FactList(facts=["a"]), FactList(facts=["b"]), FactList(facts=["a"])]
    assert [task.id for task in teacher.tasks] == ["0", "1"]
    assert ask_once(teacher, []) == []
