"""Settings that are fine one by one and contradict each other: refused, with the key and the cure."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pytest

from knowtuning.config.base import BaseStage
from knowtuning.config.evaluate import EvaluateStage
from knowtuning.config.prepare import PrepareStage
from knowtuning.config.schema import Params, check, unread
from knowtuning.config.training import train_stage
from knowtuning.config.verify import VerifyStage
from knowtuning.core.params import Selection, load
from knowtuning.systems import trained
from tests.support.checkout import ROOT
from tests.support.params import write_params


@pytest.mark.parametrize("kept", ["completeness", "factuality", "logicality"])
def test_perturb_is_content_with_one_aspect(tmp_path: Path, kept: str) -> None:
    assert load(write_params(tmp_path, {"perturb.aspects": [kept]}), Params).perturb.aspects == [kept]


def test_there_are_names_for_so_many_towns_and_no_more(tmp_path: Path) -> None:
    towns = {"guide": 4000, "train": 4000, "valid": 1000, "test": 1000}
    load(write_params(tmp_path, {"prepare.world.towns": towns}), Params)
    with pytest.raises(ValueError, match=r"prepare\.world\.towns is .*expected at most 10000 towns in all"):
        load(write_params(tmp_path, {"prepare.world.towns": {**towns, "test": 1001}}), Params)


@pytest.mark.parametrize("stage", [PrepareStage, BaseStage, EvaluateStage, *map(train_stage, trained())])
def test_every_stage_refuses_a_negative_seed(tmp_path: Path, stage: type[Selection]) -> None:
    with pytest.raises(ValueError, match="seed is -1; expected greater than or equal to 0"):
        load(write_params(tmp_path, {"seed": -1}), stage)


def test_baselines_need_samples_of_the_system_that_they_continue(tmp_path: Path) -> None:
    lacking = r"sample\.systems is \[\]; expected sft there, whose samples rlaif of"
    with pytest.raises(ValueError, match=lacking):
        check(write_params(tmp_path, {"baselines": ["rlaif"]}))
    path = write_params(tmp_path, {"baselines": ["rlaif"], "sample.systems": ["sft"]})
    assert check(path).baselines == ["rlaif"]


def test_the_first_version_is_judged_where_it_is_made(tmp_path: Path) -> None:
    changes: dict[str, Any] = {"judge.pairs": [["kc", "kgkc"]]}
    with pytest.raises(ValueError, match=r"judge\.pairs has kgkc; expected first_version to be \[kg\]"):
        load(write_params(tmp_path, changes), VerifyStage).matchups  # noqa: B018
    path = write_params(tmp_path, {**changes, "first_version": ["kg"]})
    assert load(path, VerifyStage).matchups == [("kc", "kgkc")]


@pytest.mark.parametrize(
    ("key", "value", "complaint"),
    [
        ("seed", 2**32, "seed is 4294967296; expected less than 4294967296"),
        ("lora", None, "lora is None; expected a mapping of its keys"),
        ("model.template_args", {"date": date(2026, 11, 27)}, "template_args cannot .* needs quotes"),
        ("predict.split", "tests/limo", "predict.split is tests/limo; expected a name of .* has none"),
        ("perturb.aspects", [], r"perturb\.aspects is \[\]; expected"),
        ("perturb.aspects", ["factuality"] * 2, r"perturb\.aspects is .*; expected some of .*, each once"),
        ("judge.backend", "english", r"judge\.backend is 'english'; expected one of exact, openai, none"),
        ("judge.pairs", [["kc", "kc"]], r"expected pairs of two systems, each .* once: look at \[kc, kc\]"),
        ("judge.pairs", [["kc", "ka"], ["ka", "kc"]], r"each pair once: look at \[ka, kc\]"),
        ("judge.pairs", [["kc", "sft", "ka"]], r"judge\.pairs\.0 is \['kc', 'sft', 'ka'\]"),
        ("judge.pairs", [], r"judge\.pairs is \[\]"),
        ("judge.pairs", [["kc", "rlaif"]], "judge.pairs has rlaif; expected it in baselines too"),
        ("judge.max_unjudged", 1.5, r"judge\.max_unjudged is 1\.5; expected less than or equal to 1"),
        ("judge.knowledge.path", "train", "knowledge.path is 'train' and judge.backend"),
        ("evaluate.bertscore.encoder", "data/raw/no", "encoder is 'data/raw/no'; expected a .* there"),
        (
            "prepare.file.columns",
            {"question": "q", "answer": "q"},
            "prepare.file.columns is .*; expected a column of its own for each of question, context, answer",
        ),
    ],
)
def test_what_a_late_stage_would_refuse_is_refused_before_the_first(
    tmp_path: Path, key: str, value: Any, complaint: str
) -> None:
    with pytest.raises(ValueError, match=complaint):
        check(write_params(tmp_path, {key: value}))


@pytest.mark.parametrize("folder", ["../models/tiny", "./tiny", "/models/tiny", "data/raw/../tiny"])
def test_a_local_base_model_that_dvc_does_not_watch_is_refused(tmp_path: Path, folder: str) -> None:
    path = write_params(tmp_path, {"base.source": "hub", "base.hub.id": folder})
    with pytest.raises(ValueError, match=r"base\.hub\.id is .*, where DVC would not see a change; expected"):
        check(path)


def test_a_file_that_the_chosen_source_does_not_read_is_named(tmp_path: Path) -> None:
    """`prepare.source: file` forgotten: the run would go on with the closed world, and say nothing."""
    assert unread(check(ROOT / "params.yaml")) == []
    params = check(write_params(tmp_path, {"prepare.file.train": "data/raw/mine.jsonl"}))
    assert unread(params) == [
        "prepare.file.train is 'data/raw/mine.jsonl' and is not read: prepare.source is 'world', not 'file'"
    ]
