"""Each fault played by a real server on loopback, and what the teacher makes of it."""

from __future__ import annotations

import hashlib
import json
import logging
import sqlite3
import time
from pathlib import Path

import pytest

from knowtuning.teacher.openai.limits import TeacherError
from knowtuning.teacher.openai.prompts import MODES
from knowtuning.teacher.tasks import Extract, FactList, Failure, Rephrase, Revise
from tests.support.fault_server import (
    PASSING,
    Answer,
    Call,
    FaultServer,
    fails,
    obliging,
    right_reply,
    row_of,
    says,
)
from tests.support.openai_setup import KEY, extracts, outcomes, priced, quick, teacher_at
from tests.support.servers import free_port


def first_times(answers: list[Answer]):
    """A script that plays `answers` to the first calls and obliges from then on."""
    return lambda call: answers[call.number - 1] if call.number <= len(answers) else obliging(call)


def expected(task: Extract) -> FactList:
    """What the obliging server replies, worked out without the teacher."""
    user = f"Question:\n{task.question}\n\nAnswer to break into atomic facts:\n{task.answer}"
    mark = hashlib.sha256(user.encode()).hexdigest()[:12]
    return FactList(facts=[f"fact {mark} 0", f"fact {mark} 1"])


def test_outcomes_come_in_order_and_unpaid_the_second_time(tmp_path: Path) -> None:
    tasks = extracts(30)
    # Later calls are answered first.
    with FaultServer(lambda call: says(right_reply(call), delay=0.1 - 0.003 * call.number)) as server:
        pairs = list(teacher_at(server.url, tmp_path).run(iter(tasks)))
        assert pairs == [(task, expected(task)) for task in tasks]
        again = teacher_at(server.url, tmp_path, limits=quick(concurrency=3))
        assert list(again.run(reversed(tasks))) == pairs[::-1]
        assert len(server.calls) == 30
    assert (again.totals.paid, again.totals.cached) == (0, 30)


def test_equal_calls_of_several_rows_are_made_once(tmp_path: Path) -> None:
    tasks = [Rephrase(id=str(number), question="q", text="Same.") for number in range(5)]
    with FaultServer() as server:
        teacher = teacher_at(server.url, tmp_path)
        assert len(set(map(str, outcomes(teacher, tasks)))) == 1
        assert len(server.calls) == 1
    assert (teacher.totals.paid, teacher.totals.cached) == (1, 4)


def test_429_waits_as_long_as_told_and_lowers_the_concurrency(tmp_path: Path) -> None:
    refused: list[float] = []

    def script(call: Call) -> Answer:
        if 10 <= call.number < 14:
            refused.append(call.at)
            return fails(429, "slow down", "rate_limit_exceeded", headers={"retry-after": "0.4"})
        return says(right_reply(call), delay=0.02)

    with FaultServer(script) as server:
        teacher = teacher_at(server.url, tmp_path, limits=quick(concurrency=8))
        assert outcomes(teacher, extracts(60)) == [expected(task) for task in extracts(60)]
        # Calls that were under way may still arrive; from a round trip after the first refusal on, none
        # does before the time told.
        quiet = [call.at - refused[0] for call in server.calls if call.at > refused[0] + 0.1]
        assert min(quiet) >= 0.39
    assert teacher.totals.paid == 60


def test_429_with_a_wait_of_hours_stops_the_run(tmp_path: Path) -> None:
    limit = fails(429, "daily limit", headers={"retry-after": "7200"})
    with FaultServer(lambda call: obliging(call) if call.number <= 5 else limit) as server:
        began = time.monotonic()
        with pytest.raises(TeacherError, match=r"^the endpoint asks to wait 7200 s .*run again then$"):
            outcomes(teacher_at(server.url, tmp_path, limits=quick(concurrency=2)), extracts(50))
        assert time.monotonic() - began < 5
        assert len(server.calls) <= 7


def test_429_without_end_is_given_up_for_this_run_and_not_kept(tmp_path: Path) -> None:
    with FaultServer(lambda call: fails(429, "slow down")) as server:
        teacher = teacher_at(server.url, tmp_path, limits=quick(patience=0.1))
        [failure] = outcomes(teacher, extracts(1))
        assert isinstance(failure, Failure)
        assert "rate-limited" in failure.reason
        assert (teacher.totals.maybe_billed, teacher.totals.paid_completion_tokens) == (0, 0)
        server.script = obliging
        assert outcomes(teacher, extracts(1)) == [expected(extracts(1)[0])]


@pytest.mark.parametrize(
    "fault",
    [
        fails(429, "You exceeded your current quota", "insufficient_quota"),
        fails(402, "Insufficient balance"),
        fails(429, "Insufficient balance", "1113"),
        fails(400, "Your credit balance is too low to access the API."),
        fails(403, "Your newly created team doesn't have any credits yet."),
    ],
    ids=["429", "402", "429 in words", "400", "403"],
)
def test_quota_used_up_stops_at_once_and_keeps_the_work(tmp_path: Path, fault: Answer) -> None:
    with FaultServer(lambda call: fault if call.number > 20 else obliging(call)) as server:
        teacher = teacher_at(server.url, tmp_path, limits=quick(concurrency=4))
        with pytest.raises(TeacherError, match=r"quota .* is used up"):
            outcomes(teacher, extracts(100))
        assert len(server.calls) <= 24  # 20 replies and the calls in flight
        server.script = obliging
        before = len(server.calls)
        assert outcomes(teacher, extracts(100)) == [expected(task) for task in extracts(100)]
        assert len(server.calls) - before == 80


@pytest.mark.parametrize(("fault", "billed"), PASSING.values(), ids=PASSING)
def test_passing_faults_are_repeated_bounded_and_counted_where_they_may_have_been_billed(
    tmp_path: Path, fault: Answer, billed: bool
) -> None:
    limits = priced(tmp_path, timeout=0.3 if fault.delay else 30.0, retries=2)
    # The first call goes through, so that the fault meets a known endpoint.
    with FaultServer(lambda call: obliging(call) if call.number in (1, 4) else fault) as server:
        teacher = teacher_at(server.url, tmp_path, limits=limits)
        tasks = extracts(3)
        assert outcomes(teacher, tasks[:1]) == [expected(tasks[0])]
        assert outcomes(teacher, tasks[1:2]) == [expected(tasks[1])]
        assert len(server.calls) == 4  # two faults and the reply
        [failure] = outcomes(teacher, tasks[2:])
        assert isinstance(failure, Failure)
        assert "3 attempts" in failure.reason
        assert len(server.calls) == 7
    totals = teacher.totals
    assert (totals.paid, totals.failed, totals.maybe_billed) == (2, 1, 5 * billed)
    # Two replies of 5 tokens, and calls that may have had all of their 256.
    assert totals.paid_completion_tokens == 10 + 5 * 256 * billed


def test_rows_that_all_fail_stop_the_run(tmp_path: Path) -> None:
    full = fails(500, "disk full")
    with FaultServer(lambda call: obliging(call) if call.number <= 2 else full) as server:
        limits = quick(retries=1, give_up_after=5, concurrency=1)
        with pytest.raises(TeacherError, match=r"5 rows in a row failed.*disk full"):
            outcomes(teacher_at(server.url, tmp_path, limits=limits), extracts(100))
        assert len(server.calls) == 2 + 5 * 2


def test_a_reply_cut_off_is_asked_for_once_with_twice_the_limit(tmp_path: Path) -> None:
    tasks = extracts(2)

    def script(call: Call) -> Answer:
        if call.number == 1 or row_of(call) == 1:
            return says('{"facts": ["It', finish="length")
        return obliging(call)

    with FaultServer(script) as server:
        teacher = teacher_at(server.url, tmp_path, limits=quick(concurrency=1))
        first, second = outcomes(teacher, tasks)
        assert first == expected(tasks[0])
        assert second == Failure(reason="the reply was cut off at 512 tokens", raw='{"facts": ["It')
        assert [call.body["max_tokens"] for call in server.calls] == [256, 512, 256, 512]
        assert server.calls[0].messages == server.calls[1].messages
    assert (teacher.totals.paid, teacher.totals.failed) == (4, 1)


def test_a_model_that_thinks_is_cut_off_once(tmp_path: Path) -> None:
    """A short input has a low limit, 256 and the 19 bytes of its answer, until a reply is cut off there."""

    def script(call: Call) -> Answer:
        return says("<think>So", finish="length") if call.body["max_tokens"] < 1000 else obliging(call)

    with FaultServer(script) as server:
        teacher = teacher_at(server.url, tmp_path, limits=quick(concurrency=1), max_tokens=2048)
        assert teacher.estimate_of(extracts(3)).reply_tokens == 3 * 275
        assert outcomes(teacher, extracts(3)) == [expected(task) for task in extracts(3)]
        assert [call.body["max_tokens"] for call in server.calls] == [275, 4096, 2048, 2048]


@pytest.mark.parametrize(
    ("answer", "reason", "raw"),
    [
        (says(None, refusal="I will not."), "the teacher refused", "I will not."),
        (says("It is", finish="content_filter"), "the endpoint's content filter cut the reply", "It is"),
        # Nothing came, and nothing was paid.
        (fails(400, "filtered", "content_filter"), "turned down: status 400: filtered", None),
    ],
    ids=["refusal", "filtered reply", "filtered prompt"],
)
def test_refusals_are_final_and_bought_again_only_when_asked(
    tmp_path: Path, answer: Answer, reason: str, raw: str | None
) -> None:
    failure = Failure(reason=reason, raw=raw)
    with FaultServer(lambda call: answer) as server:
        teacher = teacher_at(server.url, tmp_path)
        assert outcomes(teacher, extracts(1)) == [failure]
        assert len(server.calls) == 1
        server.script = obliging
        if raw is not None:
            assert outcomes(teacher, extracts(1)) == [failure]
            assert len(server.calls) == 1
            teacher = teacher_at(server.url, tmp_path, limits=quick(ask_again=True))
        assert outcomes(teacher, extracts(1)) == [expected(extracts(1)[0])]


@pytest.mark.parametrize(
    ("reply", "complaint"),
    [
        ("I cannot say.", "found no JSON object"),
        ('{"facts": "It is odd."}', "facts: Input should be a valid array"),
        ('{"facts": []}', "found no fact"),
        ("", "found no JSON object"),
    ],
)
def test_an_unusable_reply_is_asked_for_once_more_with_the_error(
    tmp_path: Path, reply: str, complaint: str
) -> None:
    [task] = extracts(1)
    with FaultServer(first_times([says(reply)])) as server:
        assert outcomes(teacher_at(server.url, tmp_path / "a"), [task]) == [expected(task)]
        opening, again = server.calls
        assert again.messages[:2] == opening.messages
        assert again.messages[2] == {"role": "assistant", "content": reply}
        assert complaint in again.messages[3]["content"]
        server.script = lambda call: says(reply)
        [failure] = outcomes(teacher_at(server.url, tmp_path / "b"), [task])
        assert isinstance(failure, Failure)
        assert complaint in failure.reason
        assert failure.raw == reply
        assert len(server.calls) == 4


def test_a_list_of_another_length_than_its_facts_is_no_reply(tmp_path: Path) -> None:
    task = Revise(id="1", question="q", facts=("It is red.", "It is old."))
    with FaultServer(first_times([says('{"facts": ["It is blue."]}')])) as server:
        [reply] = outcomes(teacher_at(server.url, tmp_path), [task])
        assert isinstance(reply, FactList)
        assert len(reply.facts) == 2
        assert "found 1 revised facts; expected 2" in server.calls[1].messages[3]["content"]


def test_a_stored_reply_that_todays_checks_refuse_is_asked_for_anew(tmp_path: Path) -> None:
    [task] = extracts(1)
    with FaultServer() as server:
        assert outcomes(teacher_at(server.url, tmp_path), [task]) == [expected(task)]
        with sqlite3.connect(tmp_path / "teacher.sqlite") as db:
            db.execute("""UPDATE responses SET text = '{"facts": []}'""")
        db.close()
        for _ in range(2):
            assert outcomes(teacher_at(server.url, tmp_path), [task]) == [expected(task)]
        assert len(server.calls) == 2


def turns_down(*modes: str, status: int = 400):
    """An endpoint that lacks some ways of structured output."""
    return lambda call: fails(status, f"no {call.mode}") if call.mode in modes else obliging(call)


@pytest.mark.parametrize("status", [400, 404, 422, 500])
@pytest.mark.parametrize("lacking", range(len(MODES)))
def test_structured_output_is_found_out_once_per_endpoint(tmp_path: Path, lacking: int, status: int) -> None:
    tried = list(MODES[: lacking + 1])
    tasks = extracts(12)
    with FaultServer(turns_down(*MODES[:lacking], status=status)) as server:
        assert outcomes(teacher_at(server.url, tmp_path), tasks[:6]) == [expected(t) for t in tasks[:6]]
        # A crash is repeated once: it could have been an accident.
        tried = tried[:1] + tried if status == 500 and lacking else tried
        assert [call.mode for call in server.calls] == tried + [tried[-1]] * 5
        # The next run tries again: the endpoint may have learnt it meanwhile.
        before = len(server.calls)
        assert outcomes(teacher_at(server.url, tmp_path), tasks[6:]) == [expected(t) for t in tasks[6:]]
        assert [call.mode for call in server.calls[before:]] == tried + [tried[-1]] * 5


def test_replies_are_the_same_calls_whatever_the_structured_output(tmp_path: Path) -> None:
    with FaultServer(turns_down(*MODES[:3])) as server:
        first = outcomes(teacher_at(server.url, tmp_path), extracts(3))
        server.script = obliging
        before = len(server.calls)
        assert outcomes(teacher_at(server.url, tmp_path), extracts(3)) == first
        assert len(server.calls) == before


def test_a_model_that_wants_max_completion_tokens_gets_them(tmp_path: Path) -> None:
    def script(call: Call) -> Answer:
        if "max_tokens" in call.body:
            return fails(400, "Unsupported parameter: use 'max_completion_tokens'", "unsupported_parameter")
        return obliging(call)

    with FaultServer(script) as server:
        assert outcomes(teacher_at(server.url, tmp_path), extracts(3)) == [expected(t) for t in extracts(3)]
        assert len(server.calls) == 4
        assert server.calls[-1].body["max_completion_tokens"] == 256


# Gemini's shape: a list, status 400.
BAD_KEY = [{"error": {"code": 400, "message": "API key not valid. Please pass a valid API key."}}]
MINIMAL = r"^teacher.model 'stub' .*turns down even a minimal call"


@pytest.mark.parametrize(
    ("answer", "line", "calls"),
    [
        (fails(401, f"Incorrect API key provided: {KEY}"), r"^OPENAI_API_KEY is not accepted by .*\*\*\*", 1),
        (Answer(BAD_KEY, status=400), r"^OPENAI_API_KEY is not accepted by ", 1),
        # A minimal call is not allowed either.
        (fails(403, "not for you"), r"^OPENAI_API_KEY is not accepted by .*teacher.model 'stub'", 2),
        # Until the last of five modes it may be about their fields.
        (fails(404, "none", "model_not_found"), r"^teacher.model 'stub' is not found at ", len(MODES)),
        (fails(400, "unknown model"), MINIMAL, len(MODES) + 1),
        # The first crash may be an accident.
        (fails(500, "no such file"), MINIMAL, len(MODES) + 2),
    ],
    ids=["key", "key, status 400", "permission", "model", "everything", "crash"],
)
def test_a_bad_setting_stops_within_seconds_and_is_named(
    tmp_path: Path, answer: Answer, line: str, calls: int
) -> None:
    with FaultServer(lambda call: answer) as server:
        began = time.monotonic()
        with pytest.raises(TeacherError, match=line) as caught:
            outcomes(teacher_at(server.url, tmp_path, limits=quick(concurrency=8)), extracts(100))
        assert time.monotonic() - began < 3
        assert KEY not in str(caught.value)
        assert len(server.calls) == calls


def test_no_server_no_key_and_no_prompt_are_named(tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}/v1"
    with pytest.raises(TeacherError, match=f"^teacher.base_url: {url} cannot be reached"):
        outcomes(teacher_at(url, tmp_path), extracts(3))
    # OpenAI's own endpoint: the missing key is noticed before anything is sent.
    with pytest.raises(TeacherError, match=r"^OPENAI_API_KEY is not set"):
        outcomes(teacher_at(None, tmp_path, key=None), extracts(3))


def test_the_key_is_nowhere(tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd) -> None:
    """An endpoint that echoes the key wherever it can: replies, refusals, errors."""
    caplog.set_level(logging.DEBUG)
    kinds = [
        lambda call: says(json.dumps({"facts": [f"The key is {KEY}.", "It is odd."]})),
        lambda call: says(None, refusal=f"No, {KEY}"),
        lambda call: says(f"no JSON but {KEY}"),
        lambda call: fails(400, f"bad {KEY}"),
        lambda call: fails(500, f"crash {KEY}"),
        lambda call: Answer(f"<html>{KEY}</html>".encode()),
    ]

    def script(call: Call) -> Answer:
        if call.number == 1:
            return obliging(call)
        return kinds[(row_of(call) or 0) % len(kinds)](call)

    with FaultServer(script) as server:
        limits = quick(progress=True, retries=1)
        teacher = teacher_at(server.url, tmp_path / "cache", limits=limits)
        results = outcomes(teacher, extracts(24, start=6))
        assert server.calls[0].headers["authorization"] == f"Bearer {KEY}"  # it was sent
    teacher.save_replies(tmp_path / "responses.jsonl")
    teacher.close()
    assert sum(isinstance(result, Failure) for result in results) == 20
    shown = "".join(capfd.readouterr()) + caplog.text + repr(results) + repr(teacher.totals.metrics())
    assert KEY not in shown
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert any(path.suffix == ".sqlite" for path in files)
    assert not [path for path in files if KEY.encode() in path.read_bytes()]
