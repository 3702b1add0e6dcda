"""Money: hopeless endpoints end early, nothing is bought twice, and what cannot be counted is estimated."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from knowtuning.teacher.openai import OpenAITeacher
from knowtuning.teacher.openai.limits import TeacherError
from knowtuning.teacher.openai.store import Store
from knowtuning.teacher.tasks import Failure
from tests.support.fault_server import Answer, Call, FaultServer, fails, obliging, right_reply, says
from tests.support.openai_setup import extracts, outcomes, quick, teacher_at


def refuses_rows(call: Call) -> Answer:
    """Turns down everything but a minimal call."""
    return fails(400, "no rows") if "What of" in call.messages[-1]["content"] else says("{}")


@pytest.mark.parametrize("concurrency", [1, 16, 200])
@pytest.mark.parametrize(
    ("script", "line"),
    [
        (lambda call: says("I cannot say."), r"'stub' .*cannot do the task 'extract'.*was 'I cannot say.'"),
        (lambda call: says('{"facts": []}'), r"cannot do the task .*found no fact"),
        (lambda call: says("Sorry", refusal="I will not."), r"cannot do the task .*'I will not.'"),
        (lambda call: says('{"facts": ["It', finish="length"), r"cannot do the task .*cut off"),
        (lambda call: Answer({"choices": []}), r"calls in a row failed .*is no chat completion"),
        (lambda call: Answer(b"<html>"), r"calls in a row failed .*is no JSON"),
        (lambda call: Answer({}, drop="body"), r"calls in a row failed"),
        (refuses_rows, r"turns down every task 'extract' \(status 400: no rows\)"),
    ],
    ids=["prose", "check", "refusal", "cut", "no completion", "html", "dropped", "turned down"],
)
def test_a_hopeless_endpoint_costs_forty_calls_at_most(
    tmp_path: Path, script, line: str, concurrency: int
) -> None:
    with FaultServer(script) as server:
        teacher = teacher_at(server.url, tmp_path, limits=quick(concurrency=concurrency))
        with pytest.raises(TeacherError, match=line) as caught:
            outcomes(teacher, extracts(300))
        assert len(server.calls) <= 40
        assert "\n" not in str(caught.value)
        if "cannot do" in str(caught.value):
            # What was bought is not bought again, nor anything else that would be in vain.
            before = len(server.calls)
            with pytest.raises(TeacherError, match="cannot do"):
                outcomes(teacher_at(server.url, tmp_path, limits=quick(concurrency=1)), extracts(300))
            assert len(server.calls) == before


def test_a_good_model_is_not_held_back(tmp_path: Path) -> None:
    """After one usable reply all calls may be in flight, and rows that fail here and there stop nothing."""

    def script(call: Call) -> Answer:
        row = int(call.messages[1]["content"].split("What of ")[1].split("?")[0])
        return says("no" if row % 3 == 0 else right_reply(call), delay=1.0)

    with FaultServer(script) as server:
        results = outcomes(teacher_at(server.url, tmp_path, limits=quick(concurrency=60)), extracts(90))
        assert sum(isinstance(outcome, Failure) for outcome in results) == 30
        assert server.peak > 40


def test_the_run_stops_when_max_rejected_cannot_be_met(tmp_path: Path) -> None:
    """Every other row fails, so none in a row: 3 of 300 may; the fourth stops the run, now and next time."""

    def script(call: Call) -> Answer:
        row = int(call.messages[1]["content"].split("What of ")[1].split("?")[0])
        return says("no") if row % 2 else obliging(call)

    with FaultServer(script) as server:

        def teacher() -> OpenAITeacher:
            return teacher_at(server.url, tmp_path, limits=quick(concurrency=2), most_failed=3)

        with pytest.raises(TeacherError, match=r"4 rows, more than max_rejected allows, without a usable"):
            outcomes(teacher(), extracts(300))
        made = len(server.calls)
        assert made <= 20
        with pytest.raises(TeacherError, match=r"4 rows, more than max_rejected"):
            outcomes(teacher(), extracts(300))
        assert len(server.calls) == made


def test_unusable_replies_travel_with_the_others_and_are_not_bought_again(tmp_path: Path) -> None:
    with FaultServer(
        lambda call: says("no") if "of 1?" in call.messages[1]["content"] else obliging(call)
    ) as server:
        first = teacher_at(server.url, tmp_path / "a")
        results = outcomes(first, extracts(3))
        assert [isinstance(outcome, Failure) for outcome in results] == [False, True, False]
        first.save_replies(tmp_path / "replies.jsonl")
        made = len(server.calls)
        clone = teacher_at(server.url, tmp_path / "b", key=None)
        clone.load_replies(tmp_path / "replies.jsonl")
        assert outcomes(clone, extracts(3)) == results
        assert len(server.calls) == made
        server.script = obliging
        asked = teacher_at(server.url, tmp_path / "b", limits=quick(ask_again=True))
        estimate = asked.estimate_of(extracts(3))
        assert (estimate.tasks, estimate.calls) == (3, 1)
        assert not any(isinstance(outcome, Failure) for outcome in outcomes(asked, extracts(3)))
        assert len(server.calls) == made + 1


def test_a_store_of_the_first_version_is_taken_over(tmp_path: Path) -> None:
    with FaultServer() as server:
        before = outcomes(teacher_at(server.url, tmp_path), extracts(2))
        with sqlite3.connect(tmp_path / "teacher.sqlite") as db:
            for name in ("failure", "row", "prompt", "time", "served"):
                db.execute(f"ALTER TABLE responses DROP COLUMN {name}")
            db.execute("PRAGMA user_version = 1")
        db.close()
        assert outcomes(teacher_at(server.url, tmp_path), extracts(2)) == before
        assert len(server.calls) == 2
    assert len(list(Store(tmp_path / "teacher.sqlite").all())) == 2


def priced(tmp_path: Path, **changes: object):
    prices = tmp_path / "prices.yaml"
    prices.write_text("stub: {prompt: 100, completion: 200}\n")
    return quick(prices=prices, **changes)


def test_a_call_without_usage_counts_by_its_length(tmp_path: Path) -> None:
    """Four bytes a token: the messages at 100 and the reply at 200 dollars per million tokens."""

    def script(call: Call) -> Answer:
        answer = says(right_reply(call))
        del answer.body["usage"]
        return answer

    with FaultServer(script) as server:
        teacher = teacher_at(server.url, tmp_path, limits=priced(tmp_path))
        outcomes(teacher, extracts(1))
        [call] = server.calls
        prompt = sum(len(message["content"].encode()) for message in call.messages)
        tokens = (-(-prompt // 4), -(-len(right_reply(call)) // 4))
        assert (teacher.totals.paid_prompt_tokens, teacher.totals.paid_completion_tokens) == tokens
        limits = priced(tmp_path, budget=0.3, concurrency=4)
        with pytest.raises(TeacherError, match=r"^budget: \$0\.\d*[1-9]\d* of"):
            outcomes(teacher_at(server.url, tmp_path, limits=limits), extracts(100))


@pytest.mark.parametrize(
    ("fault", "billed"),
    [
        (Answer(b"<html>"), True),
        (Answer({"choices": []}), True),
        (Answer({"choices": [1] * 100}, drop="body"), True),
        (Answer({}, drop="before"), True),
        (says("late", delay=1.0), True),
        (fails(500), False),
        (fails(503, "busy"), False),
        (fails(429, "slow"), False),
    ],
    ids=["html", "no completion", "half a body", "dropped", "timeout", "500", "503", "429"],
)
def test_a_call_that_may_have_been_billed_counts_at_its_limit(
    tmp_path: Path, fault: Answer, billed: bool
) -> None:
    def script(call: Call) -> Answer:
        return fault if call.number == 2 else obliging(call)

    with FaultServer(script) as server:
        limits = priced(tmp_path, timeout=0.3, concurrency=1)
        teacher = teacher_at(server.url, tmp_path, limits=limits)
        assert not any(isinstance(outcome, Failure) for outcome in outcomes(teacher, extracts(2)))
        assert len(server.calls) == 3
    # Two replies of 5 tokens, and a call that may have had all of its 256.
    assert teacher.totals.maybe_billed == billed
    assert teacher.totals.paid_completion_tokens == 10 + 256 * billed
    assert teacher.totals.paid == 2
