"""Imports without what nobody asked for: what is hidden, for how long, and that a stage ends at once."""

from __future__ import annotations

import gc
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from knowtuning.core.imports import importing

ROOT = Path(__file__).resolve().parent.parent


def test_a_package_is_missing_meanwhile_and_there_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "left_out").mkdir()
    (tmp_path / "left_out/__init__.py").write_text("")
    (tmp_path / "left_out/part.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    with importing(without=("left_out",)):
        assert importlib.util.find_spec("left_out") is None
        with pytest.raises(ModuleNotFoundError):
            importlib.import_module("left_out.part")
        assert not gc.isenabled()
    assert gc.isenabled()
    found = importlib.import_module("left_out.part")
    with importing(without=("left_out",)):  # what is imported stays
        assert importlib.import_module("left_out.part") is found


def test_metrics_come_without_torch(tmp_path: Path) -> None:
    """In a process of its own; what they compute is others' to test."""
    code = f"""
import sys
from pathlib import Path
from knowtuning.evaluation.lexical import load_metric
load_metric('rouge_l', Path({str(tmp_path)!r}))
print(sorted({{'torch', 'transformers'}} & set(sys.modules)))
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT / "src")
    assert run.stdout.splitlines()[-1:] == ["[]"], run.stderr


def test_a_stage_ends_without_a_look_for_garbage(monkeypatch: pytest.MonkeyPatch) -> None:
    """The million objects of torch and its like would take a second, in each process."""
    from stages import run

    frozen = []
    monkeypatch.setattr("stages.gc.freeze", lambda: frozen.append(1))
    with pytest.raises(SystemExit):
        run(lambda: (_ for _ in ()).throw(ValueError("bad input")))
    run(lambda: None)
    assert frozen == [1, 1]
