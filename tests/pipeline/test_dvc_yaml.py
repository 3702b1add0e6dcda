"""dvc.yaml against the code: dependencies, parameters and outputs are what the stages really use."""

from __future__ import annotations

import importlib
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from knowtuning.config.base import BaseStage
from knowtuning.config.baselines import pairs_stage
from knowtuning.config.evaluate import EvaluateStage
from knowtuning.config.knowledge import ExtractStage, RewriteStage
from knowtuning.config.perturb import PerturbStage
from knowtuning.config.predict import PredictStage, SampleStage
from knowtuning.config.prepare import PrepareStage
from knowtuning.config.probe import ProbeStage
from knowtuning.config.schema import Params, check
from knowtuning.config.score import ScoreStage
from knowtuning.config.training import train_stage
from knowtuning.config.triples import TriplePairsStage, TriplesStage
from knowtuning.config.verify import VerifyStage
from knowtuning.core.records import Example, Facts, Rewrite, write_jsonl
from knowtuning.dag import drawn
from knowtuning.systems import FIRST_VERSION, ON_SAMPLES, SYSTEMS, trained
from tests.support.checkout import ROOT
from tests.support.imports import reached
from tests.support.params import write_params
from tests.support.records import preference_pair

PIPELINE: dict[str, Any] = yaml.safe_load((ROOT / "dvc.yaml").read_text())
STAGES: dict[str, Any] = PIPELINE["stages"]
# Those of baselines/dvc.yaml as they are for each baseline, and the first version: "<stage>@<item>".
BASELINES: dict[str, Any] = yaml.safe_load((ROOT / "baselines/dvc.yaml").read_text())["stages"]
# The report reads params.yaml as a file.
READS: dict[str, type[BaseModel]] = {
    "prepare": PrepareStage,
    "base": BaseStage,
    "extract": ExtractStage,
    "score": ScoreStage,
    "rewrite": RewriteStage,
    "perturb": PerturbStage,
    "predict": PredictStage,
    "probe": ProbeStage,
    "verify": VerifyStage,
    "evaluate": EvaluateStage,
    **{system.section: train_stage(name) for name, system in trained().items() if name in SYSTEMS},
    "sample@sft": SampleStage,
    **{f"pairs@{name}": pairs_stage(name) for name in ON_SAMPLES},
    **{f"train@{name}": train_stage(name) for name in ON_SAMPLES},
    **{f"predict@{name}": PredictStage for name in ON_SAMPLES},
    "triples@kg": TriplesStage,
    "triple_pairs@kg": TriplePairsStage,
    **{f"train_{name}@kg": train_stage(name) for name in FIRST_VERSION},
    **{f"predict_{name}@kg": PredictStage for name in FIRST_VERSION},
}


def for_item(node: Any, item: str) -> Any:
    """A node of a matrix stage for one item."""
    if isinstance(node, dict):
        return {for_item(key, item): for_item(value, item) for key, value in node.items()}
    if isinstance(node, list):
        return [for_item(value, item) for value in node]
    return node.replace("${item.system}", item) if isinstance(node, str) else node


STAGES |= {
    name: for_item(BASELINES[name.partition("@")[0]], name.partition("@")[2]) for name in READS if "@" in name
}


def leaves(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from leaves(field.annotation, f"{prefix}{name}.")
        else:
            yield prefix + name


def script(stage: str) -> Path:
    """The script of a stage."""
    name = stage.partition("@")[0]
    name = name.partition("_")[0] if name.removeprefix("predict_") in FIRST_VERSION else name
    return ROOT / "stages" / f"{'train' if stage in trained_stages() else name}.py"


def trained_stages() -> dict[str, str]:
    """Training stage -> system."""
    return {stage_of(name): name for name in trained()}


def stage_of(system: str) -> str:
    """The training stage of a system."""
    if system in FIRST_VERSION:
        return f"train_{system}@kg"
    return f"train@{system}" if system in ON_SAMPLES else trained()[system].section


def argument_of(stage: str) -> str:
    """What the script of a stage is called with."""
    name, _, item = stage.partition("@")
    if stage in trained_stages():
        return trained_stages()[stage]
    if item == "kg":
        return name.partition("predict_")[2]
    return "${item.system}" if name == "predict" and not item else item


def paths(stage: str, key: str) -> list[str]:
    """The paths of a list of a stage, options left out."""
    return [item if isinstance(item, str) else next(iter(item)) for item in STAGES[stage].get(key, [])]


def test_the_stages_are_those_of_the_paper_and_of_the_systems() -> None:
    assert set(STAGES) == {*READS, "report"}
    assert set(BASELINES) == {name.partition("@")[0] for name in READS if "@" in name}
    paper = ["extract", "score", "rewrite", "perturb", "train_ka", "train_kc", "predict", "evaluate"]
    assert [stage for stage in STAGES if stage in paper] == paper
    assert STAGES["predict"]["matrix"] == {"system": list(SYSTEMS)}
    for name, stage in STAGES.items():
        assert stage["desc"].endswith(".")
        assert stage["cmd"] == f"sh stages/run.sh {script(name).stem} {argument_of(name)}".strip()


@pytest.mark.parametrize("stage", STAGES)
def test_every_module_a_stage_reaches_is_a_dependency(stage: str) -> None:
    declared = paths(stage, "deps")
    needed = {path.relative_to(ROOT).as_posix() for path in reached(script(stage))}
    missing = {n for n in needed if not any(n == d or n.startswith(f"{d}/") for d in declared)}
    assert not missing, f"add to dvc.yaml, stages.{stage}.deps: {sorted(missing)}"
    code = [d for d in declared if d.startswith(("src/", "stages/"))]
    unused = {d for d in code if not any(n == d or n.startswith(f"{d}/") for n in needed)}
    assert not unused, f"remove from dvc.yaml, stages.{stage}.deps: {sorted(unused)}"
    assert all((ROOT / d).exists() for d in code)


@pytest.mark.parametrize("stage", READS)
def test_params_are_exactly_what_a_stage_reads_by_section(stage: str) -> None:
    declared, read = STAGES[stage]["params"], set(leaves(READS[stage]))
    every = set(leaves(Params))
    covered = {leaf for leaf in every for key in declared if leaf == key or leaf.startswith(f"{key}.")}
    assert covered == read
    # A section that is read whole is named once.
    assert not [key for key in declared if key.rpartition(".")[0] in declared]


@pytest.mark.parametrize("system", trained())
def test_a_training_stage_depends_on_the_data_and_adapter_of_its_system(system: str) -> None:
    entry = trained()[system]
    # The pairs of a baseline stand in a folder with what they rest on.
    files = {each.path for each in entry.data}
    folders = Path("data/baselines")
    data = {(path.parent if folders in path.parents else path).as_posix() for path in files}
    data |= {"models/base"}
    data |= {f"models/{entry.continues}"} if entry.continues else set()
    stage = stage_of(system)
    result = {dep for dep in paths(stage, "deps") if dep.startswith(("data/", "models/"))}
    assert result == data
    assert f"models/{system}" in paths(stage, "outs")


StateOf = Callable[[str], tuple[set[str], list[Any]]]


class Noted(Exception):
    """Ends a stage where its state is looked for; args: the files and the settings of the state."""


@pytest.fixture
def state_of(tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StateOf:
    """What the state of a killed stage is compared by: files and settings."""
    from knowtuning.generation import answering

    monkeypatch.chdir(tmp_path)
    shutil.copytree(tiny_base, "models/base")
    write_params(tmp_path)
    original = Example(id="a", question="?", answer="It is so.")
    rewrite = Rewrite(id="a-ka", source="a", question="?", answer="So it is.", facts=["It is so."])
    rows = {
        **{f"prepared/{split}": original for split in ("train", "test")},
        "knowledge/facts": Facts(**original.model_dump(exclude={"meta"}), facts=["It is so."]),
        "knowledge/rewrites": rewrite,
        "knowledge/pairs": preference_pair("It is so.", "It is not."),
    }
    for name, row in rows.items():
        write_jsonl(Path(f"data/{name}.jsonl"), [row])

    def note(*_: Any, inputs: list[Path], settings: list[Any], **__: Any) -> None:
        raise Noted({path.as_posix() for path in inputs}, settings)

    def started(stage: str) -> tuple[set[str], list[Any]]:
        module = importlib.import_module(f"stages.{script(stage).stem}")
        place = answering if stage == "predict" else module
        monkeypatch.setattr(place, "resumable", note)
        monkeypatch.setattr(place, "adapter_of", lambda name: Path("models") / name, raising=False)
        monkeypatch.setattr(sys, "argv", [stage, for_item(argument_of(stage), "kc")])
        with pytest.raises(Noted) as noted:
            module.main()
        return noted.value.args

    return started


@pytest.mark.parametrize("stage", ["score", "train_sft", "train_ka", "train_kc", "predict"])
def test_the_state_of_a_killed_stage_is_that_of_all_files_dvc_compares(state_of: StateOf, stage: str) -> None:
    """Else train_kc would go on with the pairs of today and the reference of an older train_ka."""
    deps = [dep.replace("${predict.split}", "test") for dep in for_item(paths(stage, "deps"), "kc")]
    assert state_of(stage)[0] == {dep for dep in deps if dep.startswith(("data/", "models/"))}


def test_a_cpu_scores_in_float32_whatever_it_trains_in(
    state_of: StateOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_params(Path(), {"score.dtype": "auto"})
    monkeypatch.setenv("KNOWTUNING_DEVICE", "cpu")
    monkeypatch.setenv("KNOWTUNING_PRECISION", "bfloat16")
    assert state_of("score")[1][1] == "float32"


def test_every_params_key_is_read_by_some_stage() -> None:
    assert set(leaves(Params)) == {key for model in READS.values() for key in leaves(model)}


def test_params_file_is_valid_and_a_typo_is_named(tmp_path: Path) -> None:
    text = (ROOT / "params.yaml").read_text()
    check(ROOT / "params.yaml")
    wrong = tmp_path / "params.yaml"
    wrong.write_text(text.replace("  beta: 0.3", "  beta: -0.1"))
    with pytest.raises(ValueError, match=r"params\.yaml: train_kc\.beta is -0\.1; expected greater than 0"):
        check(wrong)
    wrong.write_text(text.replace("  gamma:", "  gama:"))
    with pytest.raises(ValueError, match=r"train_kc\.gamma is missing"):
        check(wrong)
    wrong.write_text(text + "extra: 1\n")
    with pytest.raises(ValueError, match="extra is not a known key"):
        check(wrong)
    # DVC writes small numbers like this; YAML 1.1 would read a string.
    wrong.write_text(text.replace("  beta: 0.3", "  beta: 3e-05"))
    assert check(wrong).train_kc.beta == 3e-05


def test_every_input_of_a_stage_is_made_by_another() -> None:
    made = {p for s in STAGES for key in ("outs", "metrics", "plots") for p in paths(s, key)}
    made |= {f"data/predictions/{system}.jsonl" for system in SYSTEMS}
    made.add("data/raw")  # the user's own files
    for stage in STAGES:
        for dep in paths(stage, "deps"):
            if dep.startswith(("data/", "models/", "metrics", "plots")) and "${" not in dep:
                near = [m for m in made if f"{dep}/".startswith(f"{m}/") or m.startswith(f"{dep}/")]
                assert near, f"{stage}: {dep}"


def test_metrics_stay_in_git_and_data_does_not() -> None:
    for stage in STAGES.values():
        for metric in stage.get("metrics", []):
            assert next(iter(metric.values())) == {"cache": False}
    for stage in STAGES:
        cached = [out for out in STAGES[stage].get("outs", []) if isinstance(out, str)]
        assert all(out.startswith(("data/", "models/", "plots/", "report")) for out in cached)


def test_prompts_are_dependencies_of_the_stages_that_use_them() -> None:
    used = {
        "extract": {"extract"},
        "rewrite": {"rewrite"},
        "perturb": {"revise", "rephrase"},
        "probe": {"extract", "revise"},
    }
    # Verify uses most of them, and depends on the folder; which ones pairs uses depends on the baseline.
    for stage in ("verify", *(f"pairs@{name}" for name in ON_SAMPLES)):
        assert "prompts" in paths(stage, "deps")
    for stage in STAGES:
        result = {Path(d).stem for d in paths(stage, "deps") if d.startswith("prompts/")}
        assert result == used.get(stage, set())


def test_the_file_is_short_enough_to_read() -> None:
    # A limit for each stage with its part of the plots, for whoever adds a baseline adds stages.
    assert len((ROOT / "dvc.yaml").read_text().splitlines()) <= 22 * len(PIPELINE["stages"])


def test_plots_name_files_that_stages_write() -> None:
    # What is a plot of its stage too is drawn a second time by `dvc plots`, its last column by row number.
    assert not [name for name, stage in STAGES.items() if "plots" in stage]
    made = {path for stage in STAGES for path in paths(stage, "outs")}
    for plot in PIPELINE["plots"]:
        for definition in plot.values():
            sources = definition["y"] if isinstance(definition["y"], dict) else {}
            for path in sources:
                assert any(path == m or path.startswith(f"{m}/") for m in made), path


def test_the_stages_are_drawn_on_one_screen_each_above_those_that_need_it() -> None:
    words = [sys.executable, "-m", "dvc", "dag", "--dot"]
    dot = subprocess.run(words, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    lines = drawn(dot).splitlines()
    # A system of one's own may make it wider.
    assert max(map(len, lines)) <= 120 or list(SYSTEMS) != ["base", "sft", "ka", "kc"]
    row = {name: n for n, line in enumerate(lines) for name in re.findall(r"\| *([\w@]+) *\|", line)}
    assert {name.partition("@")[0] for name in row} == {name for name in STAGES if "@" not in name}
    order = ["prepare", "base", "score", "rewrite", "train_ka", "train_kc", "probe", "evaluate", "report"]
    assert sorted(order, key=row.__getitem__) == order


def test_an_arrow_that_others_imply_is_not_drawn() -> None:
    """a needs b and c, b needs c: of "a needs c" nothing is left."""
    chain = 'strict digraph {\n"c" -> "b";\n"b" -> "a";\n'
    assert drawn(chain + '"c" -> "a";\n}') == drawn(chain + "}")
