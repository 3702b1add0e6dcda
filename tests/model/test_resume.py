"""Where state lies, who may use it, and what becomes of torn, damaged and old state."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from knowtuning.model.hardware import Processes, check_single_process, detect_processes
from knowtuning.model.resume import KEEP, Due, Journal, checkpoints, resumable, seal
from tests.support.checkout import environment


def state(cache: Path, **changes: Any) -> Any:
    return resumable(cache, "score", **{"settings": {"seed": 1}, "inputs": [], **changes})


def test_state_is_found_by_an_exact_match_alone(tmp_path: Path) -> None:
    data = tmp_path / "data.jsonl"
    data.write_text("one")
    with contextlib.suppress(KeyError), state(tmp_path, inputs=[data]) as first:
        (first / "kept").touch()
        raise KeyError
    others = [{"settings": {"seed": 2}, "inputs": [data]}, {"inputs": []}]
    for other in others:
        with state(tmp_path, **other) as folder:
            assert list(folder.iterdir()) == []
    data.write_text("two")
    with state(tmp_path, inputs=[data]) as folder:
        assert list(folder.iterdir()) == []
    data.write_text("one")
    with state(tmp_path, inputs=[data]) as folder:
        assert [path.name for path in folder.iterdir()] == ["kept"]
    # Success removes the state, its lock, and nothing else is left.
    assert list((tmp_path / "resume").iterdir()) == []


def test_old_state_of_the_stage_goes_and_that_of_others_stays(tmp_path: Path) -> None:
    home = tmp_path / "resume"
    names = ["score-0000000000000001", "score-0000000000000002", "predict-score-0000000000000003"]
    for name in names:
        (home / name).mkdir(parents=True)
        (home / name / "journal-0.jsonl").touch()
    old = time.time() - KEEP - 60
    for path in [*home.rglob("*")]:
        os.utime(path, (old, old))
    # Somebody still writes to the second one.
    os.utime(home / names[1] / "journal-0.jsonl")
    with state(tmp_path):
        assert sorted(path.name for path in home.iterdir() if path.name in names) == sorted(names[1:])


HOLD = """
import sys, time
from pathlib import Path
from knowtuning.model.resume import resumable
with resumable(Path(sys.argv[1]), "score", settings={"seed": 1}, inputs=[]) as folder:
    print("here", flush=True)
    sys.stdin.readline()
    (folder / "done").touch()
"""


def test_a_second_run_of_the_same_key_waits(tmp_path: Path) -> None:
    def start() -> subprocess.Popen[str]:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        words = [sys.executable, "-c", HOLD, str(tmp_path)]
        return subprocess.Popen(words, text=True, env=environment(), **pipes)

    first = start()
    assert first.stdout is not None
    assert first.stdout.readline() == "here\n"
    second = start()
    assert second.stderr is not None
    assert second.stderr.readline().endswith(
        "another run with the same inputs is at work; waiting for its end\n"
    )
    # Killed, the first one gives way at once, and leaves its state to the second.
    first.kill()
    first.communicate()
    out, _ = second.communicate("\n", timeout=30)
    assert (out, second.returncode) == ("here\n", 0)
    assert list((tmp_path / "resume").iterdir()) == []


@pytest.mark.parametrize("damage", [b'["b", 2, "0', b'["b", 2, "00000000"]\n["c"', b"\xff\n", b"5\n"])
def test_a_torn_or_damaged_line_ends_the_journal(tmp_path: Path, damage: bytes) -> None:
    Journal(tmp_path).put("a", [0.1, None, "ü"])
    with (tmp_path / "journal-0.jsonl").open("ab") as stream:
        stream.write(damage)
    journal = Journal(tmp_path)
    assert journal.done == {"a": [0.1, None, "ü"]}
    journal.put("b", 3)
    assert Journal(tmp_path).done == {"a": [0.1, None, "ü"], "b": 3}


def test_a_journal_goes_on_with_another_number_of_processes(tmp_path: Path) -> None:
    keys = [f"k{n}" for n in range(7)]
    for rank, journal in enumerate([Journal(tmp_path, Processes(rank, 3)) for rank in range(3)]):
        journal.put(journal.todo(keys)[0], rank)
    # Places 0, 1 and 2 are done; the others two processes take in turns.
    assert Journal(tmp_path, Processes(0, 2)).todo(keys) == ["k3", "k5"]
    assert Journal(tmp_path, Processes(1, 2)).todo(keys) == ["k4", "k6"]


def test_a_checkpoint_without_its_manifest_or_with_other_bytes_is_torn(tmp_path: Path) -> None:
    for step in (2, 10, 11, 12):
        folder = tmp_path / f"checkpoint-{step}"
        (folder / "ref").mkdir(parents=True)
        (folder / "ref/weights").write_bytes(bytes(100))
        if step != 12:
            seal(folder)
    (tmp_path / "checkpoint-11/ref/weights").write_bytes(bytes(99))
    assert [path.name for path in checkpoints(tmp_path)] == ["checkpoint-2", "checkpoint-10"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-10", "checkpoint-2"]


def test_saving_takes_a_twentieth_of_the_time_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    due = Due(30)
    now[0] += 29
    assert not due()
    now[0] += 1
    assert due()
    with due.saving():
        now[0] += 5
    now[0] += 99
    assert not due()  # 20 x 5 seconds
    now[0] += 1
    assert due()


def test_a_launcher_that_starts_another_number_of_processes_is_refused() -> None:
    assert detect_processes({}, "cpu") == Processes(0, 1)
    with pytest.raises(ValueError, match="KNOWTUNING_PROCESSES is 'two'; expected a whole number"):
        detect_processes({"KNOWTUNING_PROCESSES": "two"}, "cpu")
    # What `accelerate launch --cpu --num_processes 2` does: one process that does not know of another.
    with pytest.raises(ValueError, match="KNOWTUNING_PROCESSES is 2 but the launcher started 1; start with"):
        detect_processes({"KNOWTUNING_PROCESSES": "2"}, "cpu")
    with pytest.raises(ValueError, match="train_ka runs in one process, but WORLD_SIZE is 2; start it with"):
        check_single_process({"WORLD_SIZE": "2"}, "train_ka")
