"""Speed and money: AIMD, requests and tokens a minute, budgets, prices, estimates, the environment.

Hopeless endpoints end early, nothing is bought twice, and what cannot be counted is estimated.
"""

from __future__ import annotations

import asyncio
import math
import sqlite3
import time
from pathlib import Path

import pytest

from knowtuning.teacher.openai import OpenAITeacher
from knowtuning.teacher.openai.calls import Budget, Gate, pause
from knowtuning.teacher.openai.client import fault_of_status
from knowtuning.teacher.openai.limits import (
    VARIABLES,
    Limits,
    Price,
    TeacherError,
    limits_from_environment,
    price_of,
)
from knowtuning.teacher.openai.store import Store, command
from knowtuning.teacher.tasks import Failure
from tests.support.fault_server import Answer, Call, FaultServer, fails, obliging, right_reply, row_of, says
from tests.support.openai_setup import extracts, outcomes, priced, quick, teacher_at, usable


def test_concurrency_halves_once_per_overload_and_grows_by_one_per_round() -> None:
    gate = Gate(16)

    async def story() -> list[float]:
        limits = []
        async with gate.turn() as early, gate.turn() as late:
            gate.refused(early, 0)  # 16 -> 8
            gate.refused(late, 0)  # began before the halving: the same overload
            limits.append(gate.limit)
        for _ in range(2):  # 8 -> 4 -> 2
            async with gate.turn() as began:
                gate.refused(began, 0)
        limits.append(gate.limit)
        gate.succeeded()  # 2 + 1/2
        gate.succeeded()  # 2.5 + 1/2.5
        limits.append(gate.limit)
        for _ in range(1000):
            gate.succeeded()
        limits.append(gate.limit)
        for _ in range(10):
            async with gate.turn() as began:
                gate.refused(began, 0)
        return [*limits, gate.limit]

    assert asyncio.run(story()) == [8, 2, 2.9, 16, 1]


def test_a_server_that_takes_three_at_a_time_gets_no_more(tmp_path: Path) -> None:
    """Concurrency settles where the server stops refusing, every call is answered in the end."""
    server = FaultServer()

    def script(call: Call):
        if server.open >= 3:
            return fails(429, "too many at once", "rate_limit_exceeded")
        return says(right_reply(call), delay=0.01)

    server.script = script
    with server:
        teacher = teacher_at(server.url, tmp_path, limits=quick(concurrency=32))
        assert len(list(teacher.run(extracts(150)))) == 150
    assert (teacher.totals.paid, teacher.totals.failed) == (150, 0)
    refusals = len(server.calls) - 150
    # Without AIMD 32 callers would keep 29 of 32 calls refused, some 1,500 in all.
    assert refusals < 150


def test_requests_and_tokens_a_minute() -> None:
    """600 rpm are 0.1 s a request; 60,000 tpm are 1 ms a token."""

    async def starts(gate: Gate, tokens: list[float]) -> list[float]:
        loop, results = asyncio.get_running_loop(), []
        begin = loop.time()
        for count in tokens:
            async with gate.turn(count):
                results.append(round(loop.time() - begin, 2))
        return results

    by_request = asyncio.run(starts(Gate(4, 600, math.inf), [1e6, 1e6, 1e6]))
    assert by_request == pytest.approx([0, 0.1, 0.2], abs=0.04)
    by_token = asyncio.run(starts(Gate(4, math.inf, 60_000), [100, 50, 0]))
    assert by_token == pytest.approx([0, 0.1, 0.15], abs=0.04)


def test_requests_a_minute_hold_against_a_server(tmp_path: Path) -> None:
    with FaultServer() as server:
        began = time.monotonic()
        list(teacher_at(server.url, tmp_path, limits=quick(rpm=1200)).run(extracts(11)))
        # 1,200 a minute are 50 ms apart: ten gaps until the last one.
        assert server.calls[-1].at - began >= 0.49


def test_back_off_doubles_up_to_its_cap_with_full_jitter() -> None:
    for attempt, bound in [(1, 0.5), (2, 1.0), (3, 2.0), (7, 30.0), (1000, 30.0)]:
        drawn = [pause(attempt, 0.5, 30.0) for _ in range(300)]
        assert 0 <= min(drawn) < 0.1 * bound
        assert 0.9 * bound < max(drawn) <= bound


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "2.5"}, 2.5),
        ({"retry-after": "-1"}, 0),
        ({"retry-after-ms": "150", "retry-after": "9"}, 0.15),
        # 2026-01-01 00:00:00 UTC is 1767225600 seconds after the epoch.
        ({"retry-after": "Thu, 01 Jan 2026 00:00:07 GMT"}, 7),
        ({"retry-after": "soon"}, None),
    ],
)
def test_retry_after_in_all_its_forms(headers: dict[str, str], seconds: float | None) -> None:
    assert fault_of_status(429, {}, headers, now=1767225600.0).retry_after == seconds


def test_a_budget_reserves_the_most_a_call_can_cost(tmp_path: Path) -> None:
    """Price 1 and 2 dollars per million tokens: 88 bytes, the overhead of 512 and 200 tokens are 1000e-6."""
    run = teacher_at(None, tmp_path, limits=priced(tmp_path, 1, 2, budget=0.0024))._run

    async def story() -> None:
        budget = Budget(run)
        first = await budget.reserve(88, 200)
        second = await budget.reserve(88, 200)
        assert (first, second) == (1_000_000, 1_000_000)
        waiting = asyncio.create_task(budget.reserve(88, 200))
        await asyncio.sleep(0.05)
        assert not waiting.done()  # 0.002 is set aside
        await budget.settle(first, 20, 40)  # cost 100e-6
        await budget.settle(second, 100, 200)  # cost 500e-6
        third = await waiting
        # The next run of the same command: what it may spend is what is left, the call in flight included.
        other = Budget(run)
        with pytest.raises(TeacherError, match=r"budget: \$0\.001600 of \$0\.002400 is spent"):
            await other.reserve(88, 200)
        await budget.settle(third, 100, 200)
        assert await run.store.do(lambda store: store.spent(command())) == 1_100_000
        await run.store.settle()

    asyncio.run(story())


def test_a_budget_stops_cleanly_and_resumes(tmp_path: Path) -> None:
    """10 + 5 tokens at 100 and 200 dollars per million cost 0.002; the budget is for some ten calls.

    A call reserves a prompt of some 1,500 bytes and 256 tokens, over 0.25: the rest is not spent.
    """
    with FaultServer() as server:
        limits = priced(tmp_path, budget=0.27, concurrency=8)
        teacher = teacher_at(server.url, tmp_path, limits=limits)
        with pytest.raises(TeacherError, match=r"^budget: .* raise KNOWTUNING_BUDGET and run again"):
            list(teacher.run(extracts(100)))
        spent = teacher.totals.paid_cost
        assert isinstance(spent, float)
        assert 0 < spent <= 0.27
        assert spent == pytest.approx(0.002 * len(server.calls))
        made = len(server.calls)
        again = teacher_at(server.url, tmp_path, limits=priced(tmp_path, budget=20))
        assert len(list(again.run(extracts(100)))) == 100
        assert len(server.calls) == 100
        assert (again.totals.paid, again.totals.cached) == (100 - made, made)
        assert again.totals.metrics()["cached"]["cost"] == pytest.approx(0.002 * made)


def test_a_budget_without_a_price_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"KNOWTUNING_BUDGET is set but no price is known"):
        teacher_at("http://127.0.0.1:1/v1", tmp_path, limits=quick(budget=1))


def test_prices_by_name_dated_name_and_own_table(tmp_path: Path) -> None:
    assert price_of("gpt-4o-mini-2024-07-18", None, official=True) == Price(0.15, 0.60)
    assert price_of("gpt-4o-mini", None, official=True, batch=True) == Price(0.075, 0.30)
    assert price_of("gpt-4o-audio", None, official=True) is None
    assert price_of("gpt-4o", None, official=False) is None
    table = tmp_path / "prices.yaml"
    table.write_text("mine: {prompt: 1, completion: 2.5}\n")
    assert price_of("mine", table, official=False) == Price(1, 2.5)
    assert price_of("gpt-4o", table, official=True) is None
    table.write_text("mine: {prompt: cheap}\n")
    with pytest.raises(ValueError, match=r"prices\.yaml: mine: found .*expected \{model: \{prompt"):
        price_of("mine", table, official=False)
    table.write_text("4: {prompt: 1}")
    with pytest.raises(ValueError, match=r"prices\.yaml: 4: found"):
        price_of("mine", table, official=False)
    for unreadable in (tmp_path, tmp_path / "none.yaml"):
        with pytest.raises(ValueError, match=rf"^environment: KNOWTUNING_PRICES is '{unreadable}'"):
            price_of("mine", unreadable, official=False)


def test_the_estimate_counts_each_call_once(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with FaultServer() as server:
        teacher = teacher_at(server.url, tmp_path, limits=priced(tmp_path, 0, 1000, progress=True))
        list(teacher.run(extracts(2)))
        tasks = [*extracts(5), *extracts(1, start=3)]
        estimate = teacher.estimate_of(tasks)
        # Two are in the store, one occurs twice; three replies of at most 256 tokens.
        assert (estimate.tasks, estimate.calls) == (6, 3)
        assert len(server.calls) == 2
        list(teacher.run(tasks))
    shown = capfd.readouterr().err
    assert "6 tasks: 3 cached, 3 calls to make" in shown
    # 768 tokens at 1000 dollars per million, prompts for nothing; with corrections five times as much.
    assert "$0.77 if each reply takes all of it, at most $3.84 with corrections" in shown
    assert "cached 3, failed 0, tokens 75, $0.0250" in shown  # 5 calls of 5 tokens


def test_limits_come_from_the_environment() -> None:
    assert limits_from_environment({"KNOWTUNING_RPM": " ", "PATH": "/bin"}) == Limits()
    values = ["batch", "3", "60", "1e5", "0.5", "p.yaml", "9", "0", "1", "0"]
    limits = limits_from_environment(dict(zip(VARIABLES, values, strict=True)))
    assert limits == Limits(
        mode="batch",
        concurrency=3,
        rpm=60.0,
        tpm=1e5,
        budget=0.5,
        prices=Path("p.yaml"),
        timeout=9.0,
        retries=0,
        ask_again=True,
        preview=0,
    )


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("KNOWTUNING_CONCURRENCY", "0"),
        ("KNOWTUNING_CONCURRENCY", "2.5"),
        ("KNOWTUNING_RPM", "many"),
        ("KNOWTUNING_TPM", "-1"),
        ("KNOWTUNING_BUDGET", "nan"),
        ("KNOWTUNING_TEACHER_MODE", "offline"),
        ("KNOWTUNING_ASK_AGAIN", "2"),
        ("KNOWTUNING_PREVIEW", "-1"),
    ],
)
def test_a_bad_variable_is_named(variable: str, value: str) -> None:
    with pytest.raises(ValueError, match=f"environment: {variable} is '{value}'; expected"):
        limits_from_environment({variable: value})


def test_the_packages_own_variables_redirect_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with FaultServer() as server, FaultServer() as other:
        monkeypatch.setenv("OPENAI_BASE_URL", other.url)
        list(teacher_at(server.url, tmp_path).run(extracts(2)))
        assert (len(server.calls), len(other.calls)) == (2, 0)


def refuses_rows(call: Call) -> Answer:
    """Turns down everything but a minimal call."""
    return says("{}") if row_of(call) is None else fails(400, "no rows")


@pytest.mark.parametrize("concurrency", [1, 200])
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
        return says("no" if row_of(call) % 3 == 0 else right_reply(call), delay=1.0)

    with FaultServer(script) as server:
        results = outcomes(teacher_at(server.url, tmp_path, limits=quick(concurrency=60)), extracts(90))
        assert sum(isinstance(outcome, Failure) for outcome in results) == 30
        assert server.peak > 40


def test_the_run_stops_when_max_rejected_cannot_be_met(tmp_path: Path) -> None:
    """Every other row fails, so none in a row: 3 of 300 may; the fourth stops the run, now and next time."""
    with FaultServer(lambda call: says("no") if row_of(call) % 2 else obliging(call)) as server:

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
    with FaultServer(lambda call: says("no") if row_of(call) == 1 else obliging(call)) as server:
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
        assert usable(outcomes(asked, extracts(3)))
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
