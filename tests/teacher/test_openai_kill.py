"""Killed at any moment, and two at once: the same outcomes, no call paid twice."""

from __future__ import annotations

import hashlib
import signal
import sqlite3
import subprocess
from pathlib import Path

import pytest

from tests.support.fault_server import FaultServer, right_reply, says
from tests.support.openai_program import start
from tests.support.shell import until

CONCURRENCY = 8  # of the program


def finish(process: subprocess.Popen) -> list[int]:
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    return [int(number) for number in out.split()]


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def slow_and_obliging(call):
    return says(right_reply(call), delay=0.01)


def kill_at(server: FaultServer, process: subprocess.Popen, answered: int) -> None:
    until(lambda: server.answered >= answered)
    process.send_signal(signal.SIGKILL)
    process.communicate()


def whole(folder: Path) -> None:
    db = sqlite3.connect(folder / "cache" / "teacher.sqlite")
    assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    db.close()


@pytest.mark.parametrize(
    ("count", "shares"), [(100, (0.5,)), pytest.param(1000, (0.1, 0.5, 0.9), marks=pytest.mark.slow)]
)
def test_killed_again_and_again_it_ends_in_the_same_bytes(
    tmp_path: Path, count: int, shares: tuple[float, ...]
) -> None:
    """Killed after these shares of the calls and in the middle of a transaction."""
    with FaultServer(slow_and_obliging) as server:
        assert finish(start(server, tmp_path / "calm", count)) == [count, 0, 0]
        calm = len(server.calls)
        assert calm == count
        for share in shares:
            process = start(server, tmp_path / "rough", count)
            kill_at(server, process, calm + int(share * count))
            whole(tmp_path / "rough")
        dying = start(server, tmp_path / "rough", count, die_at=count // 50)
        dying.communicate(timeout=60)
        assert dying.returncode == -signal.SIGKILL
        whole(tmp_path / "rough")
        assert not (tmp_path / "rough" / "out.jsonl").exists()
        paid, cached, failed = finish(start(server, tmp_path / "rough", count))
        assert (paid + cached, failed) == (count, 0)
        # Each kill may lose the calls that were in flight, or on their way to disk.
        assert server.answered - calm <= count + (len(shares) + 1) * CONCURRENCY
    assert digest(tmp_path / "rough" / "out.jsonl") == digest(tmp_path / "calm" / "out.jsonl")


def test_an_interrupt_ends_the_run_and_keeps_the_work(tmp_path: Path) -> None:
    count = 200
    with FaultServer(slow_and_obliging) as server:
        process = start(server, tmp_path, count)
        until(lambda: server.answered >= count // 2 or process.poll() is not None)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
        assert process.returncode != 0
        assert "KeyboardInterrupt" in err
        assert "never retrieved" not in err
        paid, cached, failed = finish(start(server, tmp_path, count))
        assert (paid + cached, failed) == (count, 0)
        assert server.answered <= count + CONCURRENCY


def test_two_processes_share_a_store_and_pay_once(tmp_path: Path) -> None:
    count = 300
    with FaultServer(slow_and_obliging) as server:
        pair = [start(server, tmp_path, count, out=name) for name in ("a.jsonl", "b.jsonl")]
        totals = [finish(process) for process in pair]
        assert len(server.calls) == count
        # Both found something to do: they share the work.
        assert sum(paid for paid, _, _ in totals) == count
        assert all(paid + cached == count for paid, cached, _ in totals)
    whole(tmp_path)
    assert digest(tmp_path / "a.jsonl") == digest(tmp_path / "b.jsonl")


@pytest.mark.parametrize("damage", ["torn", "cut"])
def test_a_torn_journal_loses_the_last_replies_and_nothing_else(tmp_path: Path, damage: str) -> None:
    """What a machine that lost power leaves: a write-ahead log whose end is missing or garbage."""
    count = 40
    with FaultServer(slow_and_obliging) as server:
        process = start(server, tmp_path, count)
        kill_at(server, process, count // 2)
        wal = tmp_path / "cache" / "teacher.sqlite-wal"
        data = wal.read_bytes()
        wal.write_bytes(data[:-2000] + (b"\xff" * 2000 if damage == "torn" else b""))
        whole(tmp_path)
        paid, cached, failed = finish(start(server, tmp_path, count))
    assert (paid + cached, failed) == (count, 0)
    assert cached > 0
