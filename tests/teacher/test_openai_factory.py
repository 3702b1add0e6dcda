"""From parameters to a teacher, and what a stage does with it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from knowtuning.teacher.openai import OpenAITeacher
from knowtuning.teacher.tasks import Teacher
from knowtuning.teacher.teachers import Setting, open_teacher
from tests.support.checkout import PROMPTS, ROOT, run_python
from tests.support.fault_server import FaultServer
from tests.support.openai_setup import KEY, extracts, params_for


def test_a_stage_runs_saves_and_replays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def teacher(name: str, key: str):
        environ = {"OPENAI_API_KEY": key} if key else {}
        setting = Setting(environ, tmp_path / name, prompts=PROMPTS)
        return open_teacher(params_for(server.url), setting, out)

    monkeypatch.chdir(tmp_path)
    out = Path("replies.jsonl")
    with FaultServer() as server:
        first = teacher("one", KEY)
        assert isinstance(first, OpenAITeacher)
        pairs = list(first.run(extracts(4)))
        first.save_replies(out)
        # 4 calls of 10 and 5 tokens; the price of the stub is unknown.
        four = {"calls": 4, "prompt_tokens": 40, "completion_tokens": 20, "cost": None}
        none = {**dict.fromkeys(four, 0), "cost": None}
        paid_now = {"total": four, "paid": four, "cached": none, "failed": 0, "maybe_billed": 0}
        assert first.usage() == {"teacher": paid_now}
        second = teacher("two", "")
        assert list(second.run(extracts(4))) == pairs
        assert len(server.calls) == 4
        # The total of a run that paid nothing is what the first one paid.
        assert second.usage() == {"teacher": {**paid_now, "paid": none, "cached": four}}
        second.save_replies(Path("again.jsonl"))
        assert Path("again.jsonl").read_bytes() == out.read_bytes()


def test_a_teacher_that_pays_nothing_has_nothing_to_save(tmp_path: Path) -> None:
    out = tmp_path / "replies.jsonl"
    Teacher().load_replies(out)
    Teacher().save_replies(out)
    assert out.read_bytes() == b""
    assert Teacher().usage() == {}


def test_the_openai_package_is_loaded_by_the_first_call_alone(tmp_path: Path) -> None:
    """A replayed stage starts without it: half a second and, for some users, not installed at all."""
    with FaultServer() as server:
        program = (
            "import sys\n"
            "from pathlib import Path\n"
            "from tests.support.openai_setup import extracts, teacher_at\n"
            f"teacher = teacher_at({server.url!r}, Path({str(tmp_path)!r}))\n"
            "list(teacher.run(extracts(3)))\n"
            "print('openai' in sys.modules)\n"
        )
        loaded = [run_python(tmp_path, "-c", program).stdout for _ in range(2)]
    assert loaded == ["True\n", "False\n"]


def test_the_table_in_the_docs_names_tests_that_exist() -> None:
    text = (ROOT / "docs" / "teacher.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`(test_\w+)`", text))
    sources = "".join(
        path.read_text(encoding="utf-8") for path in Path(__file__).parents[1].glob("*/test_*.py")
    )
    assert len(named) > 20
    assert not [name for name in named if f"def {name}(" not in sources]
