"""Which stages an override re-runs, by DVC's own status and graph in a clone without data."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from dvc.dependency import ParamsDependency
from imports import ROOT
from ruamel.yaml import YAML

from benchmarks.stages import copy_tracked, set_params

KC_ONWARD = {"train_kc", "predict@kc", "evaluate"}
KA_ONWARD = {"train_ka", "predict@ka"} | KC_ONWARD
CASES = {
    "perturb.factuality=false": {"perturb"} | KC_ONWARD,
    "perturb.style=paper": {"perturb"} | KC_ONWARD,
    "rewrite.alpha=0.3": {"rewrite"} | KA_ONWARD,
    "train_kc.reference=base": KC_ONWARD,
    "train_sft.lr=0.001": {"train_sft", "predict@sft", "evaluate"},
    "evaluate.confidence=0.9": {"evaluate"},
    "judge.backend=none": {"evaluate"},
    "score.dtype=auto": {"score", "rewrite"} | KA_ONWARD,
    "base.scratch.hidden=64": {"base", "train_sft", "score", "rewrite"}
    | {"predict@base", "predict@sft"}
    | KA_ONWARD,
}


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project's tracked files and nothing else: no data, no models, an empty cache."""
    out = tmp_path_factory.mktemp("clone")
    copy_tracked(out)
    subprocess.run(["git", "init", "-q"], cwd=out, check=True)
    return out


def would_run(clone: Path) -> set[str]:
    """The stages whose parameters, code or prompts differ from dvc.lock, and all stages behind them."""
    import networkx
    from dvc.repo import Repo

    with Repo(str(clone)) as repo:
        graph = repo.index.graph
        changed = [stage for stage in graph if any(_differs(dep) for dep in stage.deps)]
        # Edges lead from a stage to what it needs, so the stages behind it are its ancestors.
        found = {s for stage in changed for s in (stage, *networkx.ancestors(graph, stage))}
        return {stage.name for stage in found}


def _differs(dep: Any) -> bool:
    """Whether a dependency has changed; what is not in git is absent in the clone and not asked."""
    absent = not isinstance(dep, ParamsDependency) and str(dep).startswith(("data/", "models/", "plots/"))
    return not absent and bool(dep.status())


def override(clone: Path, text: str) -> None:
    key, value = text.split("=")
    shutil.copy2(ROOT / "params.yaml", clone / "params.yaml")
    set_params(clone / "params.yaml", {key: YAML(typ="safe").load(value)})


def test_the_lock_matches_code_and_params(clone: Path) -> None:
    shutil.copy2(ROOT / "params.yaml", clone / "params.yaml")
    assert would_run(clone) == set()
    module = clone / "stages/train_kc.py"
    module.write_text(module.read_text() + "# changed\n")
    assert would_run(clone) == KC_ONWARD
    shutil.copy2(ROOT / "stages/train_kc.py", module)


@pytest.mark.parametrize("change", CASES)
def test_an_override_runs_exactly_its_stages(clone: Path, change: str) -> None:
    override(clone, change)
    assert would_run(clone) == CASES[change]
