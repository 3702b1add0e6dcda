"""From parameters to a teacher, and what a stage does with it."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from fault_server import FaultServer
from openai_setup import KEY, PROMPTS, extracts, params_for, quick

from knowtuning.teacher.factory import build_teacher, load_responses, save_responses, usage_metrics
from knowtuning.teacher.openai.teacher import OpenAITeacher
from knowtuning.teacher.tasks import Failure, Outcome, Task

ROOT = Path(__file__).resolve().parents[2]


class FreeTeacher:
    """A teacher that pays nothing."""

    def run(self, tasks: Iterable[Task]) -> Iterator[tuple[Task, Outcome]]:
        return ((task, Failure(reason="none")) for task in tasks)


def test_a_stage_runs_saves_and_replays(tmp_path: Path) -> None:
    def teacher(name: str, key: str | None):
        return build_teacher(
            params_for(server.url),
            seed=1,
            corpus=[],
            prompts=PROMPTS,
            cache=tmp_path / name,
            api_key=key,
            hardware=quick(),
        )

    out = Path("responses.jsonl")
    with FaultServer() as server:
        first = teacher("one", KEY)
        assert isinstance(first, OpenAITeacher)
        assert load_responses(first, out, root=tmp_path) == 0
        pairs = list(first.run(extracts(4)))
        assert save_responses(first, tmp_path / out) == 4
        # 4 calls of 10 and 5 tokens; the stub has no price.
        four = {"calls": 4, "prompt_tokens": 40, "completion_tokens": 20, "cost": 0.0}
        none = dict.fromkeys(four, 0)
        paid_now = {"total": four, "paid": four, "cached": none, "failed": 0}
        assert usage_metrics(first) == {"teacher": paid_now}
        second = teacher("two", None)
        assert load_responses(second, out, root=tmp_path) == 4
        assert list(second.run(extracts(4))) == pairs
        assert len(server.calls) == 4
        # The total of a run that paid nothing is what the first one paid.
        assert usage_metrics(second) == {"teacher": {**paid_now, "paid": none, "cached": four}}


def test_a_teacher_that_pays_nothing_has_nothing_to_save(tmp_path: Path) -> None:
    out = tmp_path / "responses.jsonl"
    assert load_responses(FreeTeacher(), Path("responses.jsonl"), root=tmp_path) == 0
    assert save_responses(FreeTeacher(), out) == 0
    assert out.read_bytes() == b""
    assert usage_metrics(FreeTeacher()) == {}


def test_the_openai_package_is_loaded_by_the_first_call_alone(tmp_path: Path) -> None:
    """A replayed stage starts without it: half a second and, for some users, not installed at all."""
    with FaultServer() as server:
        program = (
            "import sys\n"
            f"sys.path[:0] = [{str(ROOT / 'src')!r}, {str(Path(__file__).parent)!r}]\n"
            "from pathlib import Path\n"
            "from openai_setup import extracts, teacher_at\n"
            f"teacher = teacher_at({server.url!r}, Path({str(tmp_path)!r}))\n"
            "list(teacher.run(extracts(3)))\n"
            "print('openai' in sys.modules)\n"
        )
        loaded = [
            subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
            for _ in range(2)
        ]
    assert loaded == ["True\n", "False\n"]


def test_the_table_in_the_docs_names_tests_that_exist() -> None:
    text = (ROOT / "docs" / "teacher.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`(test_\w+)`", text))
    sources = "".join(path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("test_*.py"))
    assert len(named) > 20
    assert not [name for name in named if f"def {name}(" not in sources]
