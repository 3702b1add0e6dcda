"""Which stages a change re-runs, by DVC's own comparison and graph in a copy without data."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from dvc.dependency import ParamsDependency
from dvc.repo import Repo

from experiments.copies import copy_tracked, set_params
from knowtuning.systems import ON_SAMPLES

# What stages make: absent in the copy, or its own.
MADE = ("data/", "models", "plots", "metrics")
EVALUATION = {"verify", "evaluate", "report"}
PREDICT = {f"predict@{system}" for system in ("base", "sft", "ka", "kc")}
# What trains or makes a model ends in the probe of its log-probabilities too.
KC = {"train_kc", "predict@kc", "probe", *EVALUATION}
KA = {"train_ka", "predict@ka", *KC}
SFT = {"train_sft", "predict@sft", "probe", *EVALUATION}
BASE = {"base", "score", "rewrite", "predict@base", *SFT, *KA}
ALL = {"prepare", "extract", "perturb", *BASE}
TEACHER = {"extract", "score", "rewrite", "perturb", *KA}

# A key of params.yaml or a file -> what runs again when it changes. By the graph of the method, not by
# dvc.yaml: each part reaches what is behind it and nothing else.
RERUNS: dict[str, set[str]] = {
    "seed": ALL,
    "prepare.split.test": ALL,
    "prepare.max_words": ALL,
    "base.scratch.hidden": BASE,
    "base.gguf.sha256": BASE,
    "lora.r": SFT | KA,
    "model.template": {"score", "rewrite", "predict@base"} | SFT | KA,
    # Answers are as long as they get: the base model's do not depend on it.
    "model.max_length": {"score", "rewrite"} | SFT | KA,
    # prepare says whether the teacher can read the data.
    "teacher.backend": ALL,
    "teacher.model": TEACHER,
    "extract.max_rejected": TEACHER,
    "score.dtype": {"score", "rewrite"} | KA,
    "rewrite.select": {"rewrite"} | KA,
    "perturb.aspects": {"perturb"} | KC,
    "perturb.beta_delete": {"perturb"} | KC,
    "perturb.offset": {"perturb"} | KC,
    "perturb.max_given_away": {"perturb"} | KC,
    "train_sft.lr": SFT,
    "train_ka.lr": KA,
    "train_kc.beta": KC,
    "train_kc.loss": KC,
    "predict.temperature": PREDICT | EVALUATION,
    "probe.beta_delete": {"probe", "evaluate", "report"},
    "judge.knowledge.path": EVALUATION,
    "evaluate.confidence": {"evaluate", "report"},
    "evaluate.meteor_synonyms": {"evaluate", "report"},
    "prompts/extract.txt": TEACHER | EVALUATION,
    "prompts/revise.txt": {"perturb"} | KC,
    "prompts/judge.txt": EVALUATION,
    "stages/train.py": SFT | KA,
    "stages/report.py": {"report"},
    "src/knowtuning/core/records.py": ALL,
    "src/knowtuning/data/splits.py": ALL,
    "src/knowtuning/knowledge/aspects.py": {"perturb"} | KC,
    "src/knowtuning/knowledge/rewrite.py": {"rewrite"} | KA,
    "src/knowtuning/model/prompt.py": {"score", "rewrite", "predict@base"} | SFT | KA,
    "src/knowtuning/pretraining/muon.py": BASE,
    "src/knowtuning/training/losses.py": SFT | KA,
    "src/knowtuning/training/logps.py": {"score", "rewrite"} | SFT | KA,
    "src/knowtuning/generation/vllm.py": PREDICT | EVALUATION,
    "src/knowtuning/knowledge/probe.py": {"probe", "evaluate", "report"},
    "src/knowtuning/verification/answer_facts.py": EVALUATION,
    # The audit of the pairs has intervals too.
    "src/knowtuning/evaluation/stats.py": {"perturb"} | KC,
    "src/knowtuning/evaluation/summary.py": {"evaluate", "report"},
    "src/knowtuning/report/style.css": {"report"},
}


# The same with the baselines of the paper on; what is not here has its line above.
PAIRS = {name: {f"pairs@{name}", f"train@{name}", f"predict@{name}", "probe"} for name in ON_SAMPLES}
KGKC = {"train_kgkc@kg", "predict_kgkc@kg", "probe", *EVALUATION}
KG = {"train_kg@kg", "predict_kg@kg", *KGKC}
OF_BASELINES: dict[str, set[str]] = {
    "sample.temperature": {"sample@sft"}.union(*PAIRS.values()) | EVALUATION,
    "train_sft.lr": SFT | {"sample@sft"}.union(*PAIRS.values()),
    "judge.knowledge.path": set[str]().union(*PAIRS.values()) | EVALUATION,
    "kc_sampled.beta_delete": PAIRS["kc_sampled"] | EVALUATION,
    "rlaif.reference": PAIRS["rlaif"] | EVALUATION,
    "facttune_fs.max_pairs": PAIRS["facttune_fs"] | EVALUATION,
    "facttune_mc.answers": PAIRS["facttune_mc"] | EVALUATION,
    "train_rlaif.beta": {"train@rlaif", "predict@rlaif", "probe"} | EVALUATION,
    "judge.model": set[str]().union(*PAIRS.values()) | EVALUATION,
    # Which systems are compared makes no pair anew.
    "judge.pairs": EVALUATION,
    "train_kc.beta": KC,
    "stages/sample.py": {"sample@sft"}.union(*PAIRS.values()) | EVALUATION,
    "src/knowtuning/baselines/rlaif.py": {"triples@kg", "triple_pairs@kg"}.union(*PAIRS.values()) | KG,
    "kg.max_rejected": {"triples@kg", "triple_pairs@kg"} | KG,
    "kgkc.beta_delete": {"triple_pairs@kg"} | KGKC,
    "train_kg.lr": KG,
    "train_kgkc.beta": KGKC,
    "stages/triple_pairs.py": {"triple_pairs@kg"} | KGKC,
}


def value_of(dep: Any) -> Any:
    """What DVC compares of a dependency."""
    return dep.read_params() if isinstance(dep, ParamsDependency) else dep.get_hash().value


def looks_at(dep: Any, name: str) -> bool:
    """Whether a key of params.yaml, or a file by its path, may matter to a dependency."""
    if isinstance(dep, ParamsDependency):
        return "/" not in name
    # DVC looks at a file for its own dependency and for those on a folder above it.
    return name == dep.def_path or name.startswith(f"{dep.def_path}/")


class Graph:
    """The stages of a copy of the project, as DVC sees them, and what they depend on now."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.graph = folder, Repo(str(folder)).index.graph
        deps = [(stage, dep) for stage in self.graph for dep in stage.deps]
        self.deps = [(s, d, value_of(d)) for s, d in deps if not d.def_path.startswith(MADE)]

    def reruns(self, name: str) -> set[str]:
        """The stages that run when a key has another value, or a file another line."""
        path = self.folder / (name if "/" in name else "params.yaml")
        before = path.read_text(encoding="utf-8")
        try:
            if "/" in name:
                path.write_text(before + "\n", encoding="utf-8")
            else:
                set_params(path, {name: "another"})
            near = [each for each in self.deps if looks_at(each[1], name)]
            return self.onward([stage for stage, dep, value in near if value_of(dep) != value])
        finally:
            path.write_text(before, encoding="utf-8")

    def onward(self, changed: list[Any]) -> set[str]:
        """These stages and those behind them."""
        import networkx

        # Edges lead from a stage to what it needs, so the stages behind it are its ancestors.
        return {s.name for stage in changed for s in (stage, *networkx.ancestors(self.graph, stage))}


def graph_of(folder: Path, changes: dict[str, Any]) -> Graph:
    """That of the project's tracked files and nothing else."""
    copy_tracked(folder)
    if changes:  # else the file keeps its bytes, on which the report depends
        set_params(folder / "params.yaml", changes)
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    return Graph(folder)


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Graph:
    return graph_of(tmp_path_factory.mktemp("copy"), {})


@pytest.fixture(scope="module")
def with_baselines(tmp_path_factory: pytest.TempPathFactory) -> Graph:
    """With all baselines of the paper and the first version."""
    on = {"baselines": list(ON_SAMPLES), "sample.systems": ["sft"], "first_version": ["kg"]}
    return graph_of(tmp_path_factory.mktemp("baselines"), on)


# The report shows every parameter.
@pytest.mark.parametrize("name", RERUNS)
def test_a_change_reruns_what_is_behind_it_and_nothing_else(graph: Graph, name: str) -> None:
    assert graph.reruns(name) | {"report"} == RERUNS[name]


@pytest.mark.parametrize("name", OF_BASELINES)
def test_with_baselines_a_change_reruns_theirs_too(with_baselines: Graph, name: str) -> None:
    assert with_baselines.reruns(name) | {"report"} == OF_BASELINES[name]


def test_without_baselines_there_is_no_stage_of_theirs(graph: Graph) -> None:
    assert {stage.path_in_repo for stage in graph.graph} == {"dvc.yaml"}


def test_the_lock_is_that_of_code_and_params(graph: Graph) -> None:
    wrong = [f"{stage.name}: {dep}" for stage, dep, _ in graph.deps if dep.status()]
    assert not wrong, f"run `dvc repro`, or `dvc commit` where outputs do not change: {wrong}"


def test_a_training_row_changes_no_answer_of_the_base_model(graph: Graph) -> None:
    stage = next(stage for stage in graph.graph if stage.name == "predict@base")
    data = {dep.def_path for dep in stage.deps if dep.def_path.startswith(MADE)}
    assert data == {"data/prepared/test.jsonl", "models/base"}
