"""A run as a stream: read ahead within bounds, on disk before it is seen, ended at any moment."""

from __future__ import annotations

import itertools
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from knowtuning.teacher.openai import prompts as prompts_module
from knowtuning.teacher.tasks import Extract, Failure
from tests.support.fault_server import FaultServer, obliging, right_reply, row_of, says
from tests.support.openai_setup import extracts, quick, teacher_at


def endless() -> Iterator[Extract]:
    for number in itertools.count():
        yield from extracts(1, start=number)


def test_an_endless_stream_is_read_only_so_far_ahead(tmp_path: Path) -> None:
    read = []

    def counted() -> Iterator[Extract]:
        for task in endless():
            read.append(task)
            yield task

    with FaultServer() as server:
        run = teacher_at(server.url, tmp_path, limits=quick(lookahead=20, concurrency=4)).run(counted())
        for number, (task, outcome) in enumerate(itertools.islice(run, 100)):
            assert (task.id, isinstance(outcome, Failure)) == (f"{number:05d}", False)
            # Outcomes that are ready together come together: at most a look-ahead of them is in hand.
            assert len(read) <= number + 1 + 2 * 20
        run.close()
        assert server.peak <= 4


def test_a_slow_call_holds_up_its_place_and_no_other_call(tmp_path: Path) -> None:
    with FaultServer(lambda call: says(right_reply(call), delay=3.0 * (row_of(call) == 3))) as server:
        run = teacher_at(server.url, tmp_path, limits=quick(lookahead=100, concurrency=4)).run(extracts(60))
        assert [task.id for task, _ in itertools.islice(run, 3)] == ["00000", "00001", "00002"]
        assert next(run)[0].id == "00003"
        assert len(server.calls) == 60
        assert len(list(run)) == 56


def test_a_reply_is_on_disk_before_it_is_seen(tmp_path: Path) -> None:
    with FaultServer() as server:
        teacher = teacher_at(server.url, tmp_path)
        reader = sqlite3.connect(tmp_path / "teacher.sqlite")
        for number, _ in enumerate(teacher.run(extracts(50)), 1):
            assert reader.execute("SELECT count(*) FROM responses").fetchone()[0] >= number
        reader.close()


def test_a_run_that_is_left_gives_up_its_claims(tmp_path: Path) -> None:
    with FaultServer(lambda call: obliging(call) if call.number < 10 else says("{}", delay=30)) as server:
        run = teacher_at(server.url, tmp_path, limits=quick(concurrency=4)).run(extracts(40))
        next(run)
        began = time.monotonic()
        run.close()
        assert time.monotonic() - began < 5
        server.script = obliging
        assert len(list(teacher_at(server.url, tmp_path).run(extracts(40)))) == 40
        assert time.monotonic() - began < 10


def test_errors_of_the_caller_pass_through(tmp_path: Path) -> None:
    def broken() -> Iterator[Extract]:
        yield from extracts(3)
        raise RuntimeError("the file is torn")

    with FaultServer() as server, pytest.raises(RuntimeError, match="torn"):
        list(teacher_at(server.url, tmp_path).run(broken()))


def test_two_teachers_in_one_process_pay_once(tmp_path: Path) -> None:
    totals = []

    def work() -> None:
        teacher = teacher_at(server.url, tmp_path)
        assert len(list(teacher.run(extracts(60)))) == 60
        totals.append(teacher.totals.paid)

    with FaultServer(lambda call: says(right_reply(call), delay=0.01)) as server:
        threads = [threading.Thread(target=work) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(server.calls) == 60
    assert sum(totals) == 60


def test_a_changed_prompt_asks_anew_only_its_own_task(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also a changed model, endpoint or limit: keys hold what is sent, and nothing about the rows."""
    with FaultServer() as server, FaultServer() as other:

        def calls(url: str = server.url, **changes: object) -> int:
            before = len(server.calls) + len(other.calls)
            assert len(list(teacher_at(url, tmp_path, **changes).run(extracts(4)))) == 4
            return len(server.calls) + len(other.calls) - before

        assert (calls(), calls()) == (4, 0)
        assert (calls(model="other"), calls(model="other"), calls()) == (4, 0, 0)
        assert (calls(other.url), calls(other.url)) == (4, 0)
        assert (calls(max_tokens=300), calls(seed=7), calls(temperature=0.5), calls(top_p=0.9)) == (4,) * 4
        assert calls() == 0
        load = prompts_module._load
        monkeypatch.setattr(
            prompts_module, "_load", lambda path, kind: (load(path, kind)[0] + "!", "{{answer}}")
        )
        assert (calls(), calls()) == (4, 0)
