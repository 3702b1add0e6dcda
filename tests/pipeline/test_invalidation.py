"""Which stages an override re-runs, by DVC's own dry run in a clone that has dvc.lock and no data."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from imports import ROOT
from ruamel.yaml import YAML

KC_ONWARD = {"train_kc", "predict@kc", "evaluate"}
KA_ONWARD = {"train_ka", "predict@ka"} | KC_ONWARD
CASES = {
    "perturb.factuality=false": {"perturb"} | KC_ONWARD,
    "perturb.style=paper": {"perturb"} | KC_ONWARD,
    "rewrite.alpha=0.3": {"rewrite"} | KA_ONWARD,
    "train_kc.reference=base": KC_ONWARD,
    "train_sft.lr=0.001": {"train_sft", "predict@sft", "evaluate"},
    "evaluate.confidence=0.9": {"evaluate"},
    "score.dtype=auto": {"score", "rewrite"} | KA_ONWARD,
    "base.scratch.hidden=64": {"base", "train_sft", "score", "rewrite"}
    | {"predict@base", "predict@sft"}
    | KA_ONWARD,
}


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project's tracked files and nothing else: no data, no models, an empty cache."""
    out = tmp_path_factory.mktemp("clone")
    names = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split("\0")
    for name in filter(None, names):
        if (ROOT / name).is_file():
            (out / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, out / name)
    subprocess.run(["git", "init", "-q"], cwd=out, check=True)
    return out


def would_run(clone: Path) -> set[str]:
    """The stages a repro would run, everything downstream of a changed stage included."""
    words = [sys.executable, "-m", "dvc", "repro", "--dry", "--allow-missing", "--force-downstream"]
    done = subprocess.run(words, cwd=clone, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(re.findall(r"Running stage '([^']+)'", done.stdout))


def override(clone: Path, text: str) -> None:
    key, value = text.split("=")
    yaml = YAML()
    params = yaml.load((ROOT / "params.yaml").read_text())
    section = params
    *parents, last = key.split(".")
    for name in parents:
        section = section[name]
    section[last] = YAML(typ="safe").load(value)
    with (clone / "params.yaml").open("w") as stream:
        yaml.dump(params, stream)


def test_the_lock_matches_code_and_params(clone: Path) -> None:
    shutil.copy2(ROOT / "params.yaml", clone / "params.yaml")
    assert would_run(clone) == set()


@pytest.mark.parametrize("change", CASES)
def test_an_override_runs_exactly_its_stages(clone: Path, change: str) -> None:
    override(clone, change)
    assert would_run(clone) == CASES[change]
