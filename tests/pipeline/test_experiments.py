"""Named experiments: every override is a key of params.yaml and gives valid parameters."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from experiments import catalogue
from experiments import run as runner
from experiments.copies import set_params
from experiments.run import Run
from knowtuning.config.schema import check
from knowtuning.core.params import read_yaml
from tests.support.checkout import ROOT
from tests.support.forks import run_module
from tests.support.params import PARAMS, write_params


@pytest.mark.parametrize("name", catalogue.experiments())
def test_overrides_exist_and_are_valid(name: str, tmp_path: Path) -> None:
    assert check(write_params(tmp_path, catalogue.overrides(name, 7))).seed == 7


@pytest.mark.parametrize("key", ["lora.rank", "lroa.r", "lora.r.rank", "rank"])
def test_an_override_of_a_key_that_is_not_there_is_named(key: str) -> None:
    with pytest.raises(ValueError, match=rf"params\.yaml has no key {key}, which an experiment sets"):
        catalogue.applied({"lora": {"r": 16}}, {key: 8})


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("mine: {lora.r: 8}", r"mine\.yaml: mine is \{'lora\.r': 8\}; expected `about: a line`, `set: "),
        ("mine:", r"mine\.yaml: mine is None; expected"),
        ("mine: {about: x, set: {lora.r 8}}\n: [", r"mine\.yaml: not YAML: "),
        ("default: {about: x, set: {}}", r"mine\.yaml: the experiment default is defined twice"),
    ],
)
def test_a_file_of_experiments_with_a_fault_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, problem: str
) -> None:
    monkeypatch.setattr(catalogue, "HERE", tmp_path)
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(ValueError, match=problem):
        catalogue.experiments()


def test_the_command_names_seed_and_overrides() -> None:
    assert Run("no-kfc", 3).command() == [
        *("dvc", "exp", "run", "--temp", "--name", "no-kfc-s3"),
        *("--set-param", 'perturb.aspects=["completeness", "logicality"]'),
        *("--set-param", "seed=3"),
    ]
    assert Run("default", None).command(queue=True, raw=["data/raw/mine.csv"]) == [
        *("dvc", "exp", "run", "--queue", "--name", "default", "--copy-paths", "data/raw/mine.csv")
    ]
    assert catalogue.words_of({"lora.targets": ["q"]}) == ["--set-param", 'lora.targets=["q"]']


def test_dvc_applies_the_overrides_of_an_experiment_as_they_are_meant(tmp_path: Path) -> None:
    from dvc.utils.hydra import apply_overrides

    for name in ("paper-eli5-7b", "paper-lima-7b", "paper-medquad-7b", "baselines"):
        shutil.copy2(ROOT / "params.yaml", tmp_path)
        changes = catalogue.overrides(name, 7)
        words = [word for word in catalogue.words_of(changes) if word != "--set-param"]
        apply_overrides(tmp_path / "params.yaml", words)
        assert read_yaml(tmp_path / "params.yaml") == catalogue.applied(PARAMS, changes)


def test_the_sweeps_of_the_study_have_all_their_points() -> None:
    # The default and one ablation are points too, so that nothing runs twice.
    assert catalogue.sweep("rewrite.alpha", 0.5) == {
        0.0: "no-ka",
        0.25: "alpha-25",
        0.5: "default",
        0.75: "alpha-75",
        1.0: "alpha-100",
    }
    assert list(catalogue.sweep("perturb.beta_delete", 0.5)) == [0.25, 0.5, 0.75]
    assert list(catalogue.sweep("train_kc.gamma", 0.2)) == [0.0, 0.2, 1.0]


def test_every_file_of_experiments_is_a_list_for_grid(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["run", "--grid", "modern", "--show"])
    runner.main()
    shown = capsys.readouterr().out.splitlines()
    assert len(shown) == 1 + len(YAML(typ="safe").load(ROOT / "experiments/modern.yaml"))


def test_an_unknown_name_is_one_line() -> None:
    done = run_module(ROOT, "experiments.run", "nothing")
    assert done.returncode == 1
    assert done.stderr.startswith("error: no experiment nothing; expected one of default, ")
    assert done.stderr.count("\n") == 1


@pytest.fixture
def params_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """params.yaml as it is, and as the runner has kept it."""
    for name in ("PARAMS", "KEPT"):
        monkeypatch.setattr(runner, name, tmp_path / name)
        shutil.copy2(ROOT / "params.yaml", tmp_path / name)
    return tmp_path / "PARAMS"


def test_what_a_killed_start_left_is_put_back_and_an_edit_stays(
    params_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, tmp = params_file.read_text(), params_file.parent
    # Which aspects there are to leave out says the file as it was, not the one that lacks one of them.
    monkeypatch.setattr(catalogue, "ROOT", tmp)
    for name in ("gamma-0", "no-kcc"):
        shutil.copy2(params_file, tmp / "params.yaml")
        changes = catalogue.overrides(name, 3)
        set_params(params_file, changes)
        set_params(tmp / "params.yaml", changes)
        runner.restore_params()
        assert params_file.read_text() == before
        shutil.copy2(params_file, runner.KEPT)
    set_params(params_file, {"train_kc.gamma": 0.0, "train_kc.beta": 0.5})
    edited = params_file.read_text()
    runner.restore_params()
    assert params_file.read_text() == edited


def test_what_was_kept_before_an_update_brought_a_key_stops_no_start(params_file: Path) -> None:
    kept = read_yaml(params_file)
    del kept["train_kc"]["gamma"]
    runner.KEPT.write_text(json.dumps(kept), encoding="utf-8")
    before = params_file.read_text()
    runner.restore_params()
    assert params_file.read_text() == before
    assert not runner.KEPT.exists()


def test_an_edit_reaches_no_run_that_began_before_it(
    params_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = []

    def dvc(words: list[str]) -> int:
        started.append(words)
        set_params(params_file, {"train_kc.beta": 0.5})
        return 0

    monkeypatch.setattr(runner, "dvc", dvc)
    monkeypatch.setattr(runner, "raw_files", list)
    with pytest.raises(
        ValueError, match=r"^params\.yaml is not what it was .*; gamma-0-s1 and all behind it"
    ):
        runner.one_after_another([Run("default", 1), Run("gamma-0", 1)])
    assert len(started) == 1
