"""A stage in the wrong Python, or with the code of another checkout: one line says what to do."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from knowtuning.teacher.openai.limits import VARIABLES
from tests.support.checkout import ROOT, run_python


def said(folder: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """What a command says in `folder` with these variables alone, and the programs of the machine."""
    environment = {"PATH": "/usr/bin:/bin", **variables}
    return subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_make_declines_a_python_that_is_too_old(tmp_path: Path) -> None:
    shutil.copy2(ROOT / "Makefile", tmp_path)
    for name in ("requirements.txt", "constraints.txt", "pyproject.toml"):
        (tmp_path / name).touch()
    old = tmp_path / "python3.9"
    old.write_text('#!/bin/sh\n[ "$1" = --version ] && echo Python 3.9.2\nexit 1\n')
    old.chmod(0o755)
    done = said(tmp_path, "make", "--no-print-directory", "setup", f"PYTHON={old}")
    assert done.stderr.splitlines()[0] == (
        f"error: PYTHON is {old}, Python 3.9.2; expected 3.11 or later, as in: make setup PYTHON=python3.11"
    )
    assert not (tmp_path / ".venv").exists()


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The stages in a checkout of their own, with a package that has nothing in it."""
    shutil.copytree(ROOT / "stages", tmp_path / "stages", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "src/knowtuning").mkdir(parents=True)
    (tmp_path / "src/knowtuning/__init__.py").touch()
    return tmp_path


def complaint(folder: Path, *options: str, **extra: str) -> str:
    """What `python -m stages.prepare` says when it declines to start."""
    done = run_python(folder, *options, "-m", "stages.prepare", **extra)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    return done.stderr


def test_a_python_without_the_packages() -> None:
    # -S: no site-packages, as in the Python of a machine.
    output = complaint(ROOT, "-S")
    assert "has no pydantic and no torch; run `source .venv/bin/activate` and then the same command" in output
    assert "or `make repro`" in output


def test_the_package_is_not_installed(copy: Path) -> None:
    for name in ("pydantic", "torch"):
        (copy / f"{name}.py").touch()
    output = complaint(copy, "-S", PYTHONPATH="")
    assert output == (
        "error: knowtuning is not installed; run `make setup`, or set PYTHONPATH=src for the same command\n"
    )


def test_the_package_of_another_checkout(copy: Path) -> None:
    output = complaint(copy, PYTHONPATH=str(ROOT / "src"))
    assert f"imported from {ROOT / 'src'}, but these stages need that of {copy / 'src'}" in output
    assert "set PYTHONPATH=src" in output
    assert run_python(copy, "-c", "import stages", PYTHONPATH="src").returncode == 0


def test_a_stage_finds_the_environment_without_its_activation(copy: Path, tmp_path: Path) -> None:
    # The `python` of `.venv` says who it is; another one on the path must not run.
    for folder, name in ((copy / ".venv/bin", "the environment's"), (tmp_path / "bin", "the machine's")):
        folder.mkdir(parents=True)
        (folder / "python").write_text(f'#!/bin/sh\necho "{name} $PYTHONPATH $*"\n')
        (folder / "python").chmod(0o755)

    def started(**extra: str) -> list[str]:
        path = f"{tmp_path / 'bin'}:/usr/bin:/bin"
        done = said(copy, "sh", "stages/run.sh", "train", "kc", **{"PATH": path, **extra})
        assert done.returncode == 0
        return done.stdout.splitlines()

    (copy / "params.yaml").touch()
    os.utime(copy / "params.yaml", (1, 1))
    *checks, stage = started()
    assert stage == "the environment's src -m stages.train kc"
    assert checks == [
        "the environment's src -c import stages",
        "the environment's src -m knowtuning.config.schema params.yaml",
    ]
    # The parameters have been checked.
    assert started(DVC_ROOT=str(copy)) == [stage]
    # An activated environment is the user's choice, and a copy without one takes the path's.
    machine = ["the machine's src -m stages.train kc"]
    assert started(VIRTUAL_ENV="x") == started(DVC_ROOT="/nowhere") == machine
    os.utime(copy / "params.yaml", (time.time() + 9, time.time() + 9))
    assert len(started()) == 3


def test_no_stage_starts_where_the_section_of_another_has_a_fault(tmp_path: Path) -> None:
    for folder in ("src", "stages"):
        (tmp_path / folder).symlink_to(ROOT / folder)
    params = (ROOT / "params.yaml").read_text()
    (tmp_path / "params.yaml").write_text(params.replace("reference: adapter", "reference: adaptor", 1))
    path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
    done = said(tmp_path, "sh", "stages/run.sh", "prepare", VIRTUAL_ENV=sys.prefix, PATH=path)
    assert done.returncode == 1
    assert done.stderr == (
        "error: params.yaml: train_kc.reference is 'adaptor'; expected 'adapter' or 'base'\n"
    )
    assert not (tmp_path / "data").exists()


def test_a_slip_in_the_name_of_a_variable_stops_every_stage(tmp_path: Path) -> None:
    script = (ROOT / "stages/run.sh").read_text()
    texts = [path.read_text() for folder in ("src", "stages") for path in (ROOT / folder).rglob("*.py")]
    named = {name for text in texts for name in re.findall(r"KNOWTUNING_([A-Z_]*[A-Z])", text)}
    read = named | {variable.removeprefix("KNOWTUNING_") for variable in VARIABLES}
    assert set(re.findall(r'known="([^"]+)"', script)[0].split()) == read
    words = ("sh", str(ROOT / "stages/run.sh"), "prepare")
    done = said(tmp_path, *words, KNOWTUNING_VLLM="x", KNOWTUNING_BUDGT="5")
    assert done.returncode == 1
    assert done.stderr.startswith("error: environment: KNOWTUNING_BUDGT is no variable of this project; ")
