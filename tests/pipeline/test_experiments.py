"""Named experiments: every override is a key of params.yaml and gives valid parameters."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from imports import ROOT
from ruamel.yaml import YAML

from experiments import run
from knowtuning.config.schema import check


@pytest.mark.parametrize("name", run.experiments())
def test_overrides_exist_and_are_valid(name: str, tmp_path: Path) -> None:
    params: Any = YAML(typ="safe", pure=True).load((ROOT / "params.yaml").read_text())
    for key, value in run.experiments()[name]["set"].items():
        *parents, last = key.split(".")
        section = params
        for part in parents:
            section = section[part]
        assert last in section, f"{name}: params.yaml has no key {key}"
        section[last] = value
    with (tmp_path / "params.yaml").open("w") as stream:
        YAML().dump(params, stream)
    check(tmp_path / "params.yaml")


def test_the_command_names_seed_and_overrides() -> None:
    assert run.command("no-kfc", {"perturb.factuality": False, "lora.targets": ["q"]}, 3) == [
        *("dvc", "exp", "run", "--name", "no-kfc-s3"),
        *("--set-param", "perturb.factuality=false"),
        *("--set-param", 'lora.targets=["q"]'),
        *("--set-param", "seed=3"),
    ]


def test_an_unknown_name_is_one_line() -> None:
    words = [sys.executable, str(ROOT / "experiments/run.py"), "nothing"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: no experiment nothing; expected one of default, ")
    assert done.stderr.count("\n") == 1


def test_every_run_starts_from_the_params_as_they_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A stand-in for dvc that, like it, leaves the overrides of a run in params.yaml.
    program = tmp_path / "bin/dvc"
    program.parent.mkdir()
    program.write_text(
        '#!/bin/sh\n[ "$2" = list ] && { echo done-s1; exit; }\n'
        'cat params.yaml >> seen; echo "changed: true" >> params.yaml; [ "$4" != fails ]\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=":")
    monkeypatch.chdir(tmp_path)
    params = tmp_path / "params.yaml"
    params.write_text("seed: 1\n")
    names = ["one", "two", "done-s1", "fails", "never"]
    commands = [["dvc", "exp", "run", "--name", name] for name in names]
    assert run.run_all(commands, params) == 1
    assert (tmp_path / "seen").read_text() == "seed: 1\n" * 3
    assert params.read_text() == "seed: 1\n"
