"""The Batch API: the same replies as online, resumed after a kill, resubmitted in part."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from knowtuning.teacher.openai.limits import Limits, Price, TeacherError
from knowtuning.teacher.tasks import Failure
from tests.support import openai_program
from tests.support.batch_server import BatchServer
from tests.support.fault_server import Answer, Call, FaultServer, fails, obliging, row_of, says
from tests.support.openai_setup import mixed, outcomes, priced, quick, teacher_at
from tests.support.shell import until


def by_batch(**changes: object) -> Limits:
    return quick(mode="batch", batch_poll=0.05, **changes)


def online(tmp_path: Path, count: int) -> list:
    with FaultServer() as server:
        return list(teacher_at(server.url, tmp_path / "online").run(mixed(count)))


def test_batches_bring_what_calls_bring(tmp_path: Path) -> None:
    """Three kinds of tasks: their first calls go online, the other 27 in three batches."""
    with BatchServer(looks=2) as server:
        limits = priced(tmp_path, mode="batch", batch_poll=0.05, batch_size=10)
        teacher = teacher_at(server.url, tmp_path, limits=limits)
        # Half of 100 and 200 dollars per million tokens.
        assert teacher.totals.price == Price(50, 100)
        assert list(teacher.run(mixed(30))) == online(tmp_path, 30)
        assert (len(server.calls), len(server.lines), len(server.batches)) == (3, 27, 3)
        assert teacher.totals.paid == 30
        assert server.batches[0]["completion_window"] == "24h"
        # The same keys: what batches brought serves online runs.
        again = teacher_at(server.url, tmp_path)
        assert len(list(again.run(mixed(30)))) == 30
        assert (again.totals.paid, again.totals.cached) == (0, 30)


def test_only_what_is_missing_is_submitted_again(tmp_path: Path) -> None:
    """Lines that expire, lines that fail, replies that are cut off or wrong: the next batch holds these."""

    def script(call: Call) -> Answer:
        row = row_of(call)
        if row == 12 and len(call.messages) == 2:
            return says("no JSON")
        if row == 13 and call.body["max_tokens"] == 256:
            return says('{"text": "It', finish="length")
        if row == 14:
            return fails(400, "too long", "context_length_exceeded")
        return obliging(call)

    expired: list[str] = []

    def expires(line: str, batch: int) -> bool:
        if batch == 0 and len(expired) < 4:
            expired.append(line)
            return True
        return False

    with BatchServer(script, expires=expires) as server:
        teacher = teacher_at(server.url, tmp_path, limits=by_batch())
        results = dict(teacher.run(mixed(20)))
        wanted = dict(online(tmp_path, 20))
        bad = mixed(20)[14]
        assert results.pop(bad) == Failure(reason="turned down: status 400: too long")
        del wanted[bad]
        assert results == wanted
        # 17 lines; then the four that expired, one correction and one longer limit.
        sizes = [len(server.files[batch["input_file_id"]].splitlines()) for batch in server.batches]
        assert sizes[0] == 17
        assert sum(sizes[1:]) == 6


@pytest.mark.parametrize("moment", ["created, not noted", "open"])
def test_a_batch_survives_the_kill_of_its_run(tmp_path: Path, moment: str) -> None:
    """Killed before the endpoint's reply to the creation arrives, and later: no line is run twice."""
    slow = moment == "created, not noted"
    with BatchServer(looks=10**6) as server:

        def trouble(call: Call) -> Answer | None:
            if slow and call.method == "POST" and call.path.endswith("/batches"):
                answer = server._create(call)
                answer.delay = 60
                return answer
            return None

        server.trouble = trouble
        process = openai_program.start(server, tmp_path, 30, mode="batch")
        looked = "/batches/batch-0"
        until(lambda: server.batches and (slow or any(looked in c.path for c in server.others)), 300)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        server.trouble = lambda call: None
        for batch in server.batches:
            batch["looks"] = 0
        server.looks = 0
        again = openai_program.start(server, tmp_path, 30, mode="batch")
        out, err = again.communicate(timeout=300)
        assert out.split() == ["27", "3", "0"], err
        assert (len(server.calls), len(server.lines), len(server.batches)) == (3, 27, 1)


def test_an_endpoint_without_batches_is_named(tmp_path: Path) -> None:
    with FaultServer() as server:
        teacher = teacher_at(server.url, tmp_path, limits=by_batch())
        with pytest.raises(TeacherError, match=r"^KNOWTUNING_TEACHER_MODE is batch and .* does not take it"):
            list(teacher.run(mixed(10)))


@pytest.mark.parametrize(
    ("code", "reason"),
    [("token_limit_exceeded", None), ("invalid_file", "turned down: the batch was not accepted: too many")],
)
def test_a_batch_that_is_not_accepted_waits_its_turn_or_fails_its_rows(
    tmp_path: Path, code: str, reason: str | None
) -> None:
    """Accounts may have so many tokens waiting: such a batch is submitted once more, and paid once."""
    errors = {"object": "list", "data": [{"code": code, "message": "too many"}]}

    def trouble(call: Call) -> Answer | None:
        failed = call.path.endswith("/batches/batch-0")
        return Answer({**server.batches[0], "status": "failed", "errors": errors}) if failed else None

    with BatchServer(trouble=trouble) as server:
        results = outcomes(teacher_at(server.url, tmp_path, limits=by_batch()), mixed(6))
        # The first task of each kind goes online.
        assert (len(server.calls), len(server.lines)) == (3, 0 if reason else 3)
    reasons = [result.reason for result in results if isinstance(result, Failure)]
    assert reasons == ([reason] * 3 if reason else [])


def test_passing_faults_of_the_batch_api_are_repeated(tmp_path: Path) -> None:
    met: dict[str, int] = {}

    def trouble(call: Call) -> Answer | None:
        kind = call.path.split("-")[0]
        met[kind] = met.get(kind, 0) + 1
        return fails(503) if met[kind] <= 2 else None

    with BatchServer(trouble=trouble) as server:
        teacher = teacher_at(server.url, tmp_path, limits=by_batch())
        assert list(teacher.run(mixed(6))) == online(tmp_path, 6)
    assert len(met) >= 4  # upload, creation, look, download


def test_a_creation_whose_reply_is_lost_is_not_repeated(tmp_path: Path) -> None:
    lost: list[Call] = []

    def trouble(call: Call) -> Answer | None:
        if call.method == "POST" and call.path.endswith("/batches") and not lost:
            lost.append(call)
            server._create(call)
            return Answer({}, drop="before")
        return None

    with BatchServer(trouble=trouble) as server:
        teacher = teacher_at(server.url, tmp_path, limits=by_batch())
        assert list(teacher.run(mixed(6))) == online(tmp_path, 6)
        assert len(server.batches) == 1
