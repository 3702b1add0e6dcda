"""The workflow of a fork names only what exists; the pre-commit hooks stop what they are for."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.checkout import ROOT
from tests.support.shell import run

WORKFLOW: dict[Any, Any] = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())
HOOKS = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]


def commands() -> list[str]:
    return [step["run"] for job in WORKFLOW["jobs"].values() for step in job["steps"] if "run" in step]


def test_what_the_workflow_runs_exists() -> None:
    text = "\n".join(commands())
    for path in re.findall(r"(?:^|\s)((?:\.ci|tests|\.github)/[\w./-]+)", text):
        assert (ROOT / path).exists(), path
    makefile = (ROOT / "Makefile").read_text()
    targets = re.findall(r"^make ([\w-]+)$", (ROOT / ".ci/run").read_text(), re.MULTILINE)
    assert targets == ["check", "test"]
    assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in targets)
    assert (
        "def test_the_lock_is_that_of_code_and_params" in (ROOT / "tests/pipeline/test_reruns.py").read_text()
    )


def test_the_workflow_is_safe_for_pull_requests_of_forks() -> None:
    # YAML 1.1 reads the key `on` as true.
    assert set(WORKFLOW[True]) == {"push", "pull_request"}
    assert WORKFLOW["permissions"] == {"contents": "read"}
    assert "secrets." not in (ROOT / ".github/workflows/ci.yml").read_text()
    # Text of a pull request reaches a shell through the environment alone.
    assert not any("${{" in command for command in commands())
    for job in WORKFLOW["jobs"].values():
        assert job["timeout-minutes"] <= 60
        for step in job["steps"]:
            assert ("run" in step) != ("uses" in step)
            assert re.fullmatch(r"[\w-]+/[\w-]+@v\d+", step.get("uses", "a/b@v1"))


def test_the_metrics_table_has_the_main_metrics_that_changed() -> None:
    spec = importlib.util.spec_from_file_location("metrics", ROOT / ".github/metrics.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    diff = {
        "metrics/systems.json": {
            "kc.overall.correct": {"old": 2.5, "new": 2.75, "diff": 0.25},
            "kc.general.correct": {"old": 2.5, "new": 2.75, "diff": 0.25},
            "sft.overall.order": {"old": 90.0, "new": 90.0, "diff": 0.0},
        }
    }
    assert module.rows(diff) == ["| kc.overall.correct | 2.500 | 2.750 | +0.250 |"]


def hook(name: str) -> list[str]:
    return next(h["entry"] for repo in HOOKS for h in repo["hooks"] if h["id"] == name).split()


def test_every_hook_is_local_and_pinned_by_the_environment() -> None:
    assert {repo["repo"] for repo in HOOKS} == {"local"}
    assert {h["language"] for repo in HOOKS for h in repo["hooks"]} == {"system", "pygrep"}


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("ruff", "import os\n", "F401"),
        ("ruff-format", "x=1\n", "1 file would be reformatted"),
        ("private-key", "-----BEGIN RSA " + "PRIVATE KEY-----\n", "Private key found"),
        ("large-files", "x" * 600_000, "586 KB"),
    ],
)
def test_a_hook_stops_what_it_is_for(tmp_path: Path, name: str, text: str, message: str) -> None:
    run(tmp_path, "git", "init", "-q")
    (tmp_path / "bad.py").write_text(text)
    (tmp_path / "good.py").write_text("x = 1\n")
    run(tmp_path, "git", "add", "-A")
    run(tmp_path, *hook(name), "good.py")
    assert message in run(tmp_path, *hook(name), "bad.py", status=1)


def test_the_key_pattern_finds_keys_and_no_prose() -> None:
    pattern = re.compile(" ".join(hook("api-key")))
    assert pattern.search("OPENAI_API_KEY=sk-" + "proj-" + "a1B2" * 8)
    assert pattern.search("hf_" + "aB3" * 11)
    assert not pattern.search("a task-specific model; sk-learn")
