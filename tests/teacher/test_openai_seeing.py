"""What a person sees of a paid teacher: a preview, a dry run, the replies, one budget for several stages."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from knowtuning.teacher.openai.limits import TeacherError
from tests.support.checkout import environment
from tests.support.fault_server import FaultServer, obliging, row_of, says
from tests.support.forks import run_module
from tests.support.openai_setup import extracts, mixed, quick, teacher_at


def test_a_preview_shows_rows_and_stops_before_the_rest_is_paid(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with FaultServer() as server:
        limits = quick(preview=3, progress=True)
        for _ in range(2):
            with pytest.raises(TeacherError, match=r"^preview: 3 of 9 rows are done .*KNOWTUNING_PREVIEW"):
                list(teacher_at(server.url, tmp_path, limits=limits).run(iter(extracts(9))))
            assert len(server.calls) == 3
        shown = capfd.readouterr().err
        assert "--- extract 00002\nQuestion:\nWhat of 2?" in shown
        assert '>>> {"facts":["fact ' in shown
        # The rest alone is paid; with nothing left to pay there is nothing to preview.
        assert len(list(teacher_at(server.url, tmp_path).run(extracts(9)))) == 9
        assert len(list(teacher_at(server.url, tmp_path, limits=limits).run(extracts(9)))) == 9
        assert len(server.calls) == 9


def test_a_dry_run_makes_no_call(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    limits = quick(preview=0, progress=True)
    teacher = teacher_at("http://127.0.0.1:9/v1", tmp_path, limits=limits, key=None)
    with pytest.raises(TeacherError, match=r"^preview: 0 of 9 rows"):
        list(teacher.run(extracts(9)))
    assert "9 tasks: 0 cached, 9 calls to make" in capfd.readouterr().err


def test_a_reply_says_where_it_comes_from(tmp_path: Path) -> None:
    with FaultServer(lambda call: says("no") if row_of(call) == 3 else obliging(call)) as server:
        teacher = teacher_at(server.url, tmp_path / ".cache")
        list(teacher.run(mixed(6)))
        teacher.save_replies(tmp_path / "replies.jsonl")
        teacher.close()
    for path in ([], ["replies.jsonl"]):

        def listed(*options: str, path: list[str] = path) -> str:
            return run_module(tmp_path, "knowtuning.replies", *path, *options, COLUMNS="200").stdout

        lines = listed().splitlines()
        assert len(lines) == 8
        assert lines[-1] == "6 of 6 replies"
        assert "extract  00000" in listed("--row", "00000").splitlines()[1]
        assert listed("--task", "revise").splitlines()[-1] == "2 of 2 replies"
        assert listed("--n", "1").splitlines()[-1] == "1 of 6 replies"
        failed = listed("--failed", "--show")
        assert "extract 00003 | stub | 20" in failed
        assert "What of 3?\n" in failed
        assert ">>> no\nunusable: unusable reply: found no JSON object" in failed
    done = run_module(tmp_path, "knowtuning.replies", "nowhere.jsonl")
    assert done.returncode == 1
    assert done.stderr.startswith("error: nowhere.jsonl: not found; ")
    assert done.stderr.endswith(f"; {tmp_path} has no params.yaml: go to the repository root\n")


STAGE = """
import sys
from pathlib import Path
from tests.support.forks import run_module
from tests.support.openai_setup import extracts, quick, teacher_at
limits = quick(prices=Path("prices.yaml"), budget=2.9, concurrency=1)
teacher = teacher_at(sys.argv[1], Path(".cache"), limits=limits)
try:
    list(teacher.run(extracts(int(sys.argv[2]), start=int(sys.argv[3]))))
except ValueError as error:
    print(error)
"""


def test_one_budget_holds_for_all_that_a_command_starts(tmp_path: Path) -> None:
    """10 + 5 tokens at 1000 and 2000 dollars per million cost 0.02; a call reserves some 2.5 of the 2.9.

    So some twenty calls can be paid: 15 of the first stage and a few of the second; the next command has a
    budget of its own.
    """
    (tmp_path / "prices.yaml").write_text("stub: {prompt: 1000, completion: 2000}\n")
    (tmp_path / "stage.py").write_text(STAGE)
    with FaultServer() as server:
        line = f"{sys.executable} stage.py {server.url} 15"
        script = f"{line} 0; {line} 100"
        command = {"cwd": tmp_path, "env": environment(), "text": True, "capture_output": True}
        done = subprocess.run(["sh", "-c", script], start_new_session=True, check=True, **command)
        assert "budget: $0." in done.stdout, done.stderr
        made = len(server.calls)
        assert 15 < made < 28
        subprocess.run(["sh", "-c", f"{line} 600"], start_new_session=True, check=True, **command)
        assert len(server.calls) == made + 15
