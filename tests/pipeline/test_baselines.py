"""The paper's baselines from samples to tables, each stage in a process of its own, on a very small world."""

from __future__ import annotations

import itertools
import json
import shutil
from pathlib import Path

import pytest

from experiments.copies import set_params
from knowtuning.core.records import (
    Example,
    FactConfidence,
    Judgement,
    Pair,
    Sample,
    Verified,
    read_jsonl,
    write_jsonl,
)
from knowtuning.core.storage import read_json
from knowtuning.systems import FIRST_VERSION, ON_REQUEST, ON_SAMPLES, SYSTEMS
from knowtuning.world.wording import NAMES, say
from tests.support.stage_runs import finish, start


@pytest.fixture(scope="module")
def folder(calm: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small world with all baselines. So small a model states nothing: its samples get texts that do."""
    target = tmp_path_factory.mktemp("baselines") / "project"
    shutil.copytree(calm, target)
    changes = {"baselines": list(ON_SAMPLES), "sample.systems": ["sft"], "evaluate.resamples": 1000}
    changes |= {"first_version": ["kg"]}
    fewer = {
        "facttune_mc.answers": 4,
        "facttune_mc.max_new_tokens": 1,
        "facttune_mc.temperature": 0.3,
        "facttune_fs.limit": 20,
    }
    # The weights of the last step, not those of the first, whose rate is still 0.
    late = {f"train_{name}.eval_every": 1.0 for name in ON_REQUEST}
    set_params(target / "params.yaml", {**changes, **fewer, **late})
    path, towns = target / "data/samples/sft.jsonl", read_json(target / "data/prepared/truth.json")["towns"]
    names = itertools.cycle(NAMES)
    rows = []
    for sample in read_jsonl(path, Sample):
        town = sample.source.partition("-")[0]
        # The first states one true fact, the second a true and a false one, the third two true ones.
        kinds = [(True,), (True, False), (True, True)][sample.number]
        facts = []
        for true, name in zip(kinds, names, strict=False):
            value = towns[town][name]
            false = next(other[name] for other in towns.values() if other[name] != value)
            facts.append(say(name, 0, town, value if true else false))
        rows.append(sample.model_copy(update={"answer": " ".join(facts), "truncated": False}))
    write_jsonl(path, rows)
    return target


def test_real_samples_are_of_every_question_and_differ(calm: Path) -> None:
    samples = read_jsonl(calm / "data/samples/sft.jsonl", Sample)
    examples = read_jsonl(calm / "data/prepared/train.jsonl", Example)
    assert sorted({(each.source, each.number) for each in samples}) == sorted(
        (example.id, number) for example in examples for number in range(3)
    )
    assert len({each.answer for each in samples}) > len(examples)
    assert all(each.logps < 0 and each.truncated == (each.tokens == 8) for each in samples)


def test_the_whole_chain(folder: Path) -> None:
    for baseline in ON_SAMPLES:
        finish(folder, f"pairs {baseline}")
        pairs = read_jsonl(folder / f"data/baselines/{baseline}/pairs.jsonl", Pair)
        made = read_json(folder / f"metrics/pairs_{baseline}.json")
        assert made["pairs"] == len(pairs) > 0
        # The samples have two facts at most, which have no worse order.
        kinds = {"completeness", "factuality"} if baseline == "kc_sampled" else {baseline}
        assert {pair.aspect for pair in pairs} == kinds
        finish(folder, f"train {baseline}")
        trained = read_json(folder / f"metrics/train_{baseline}.json")
        # It continues plain fine-tuning, and that is its reference.
        sft = read_json(folder / "metrics/train_sft.json")["adapter_sha256"]
        assert trained["reference_adapter_sha256"] == sft != trained["adapter_sha256"]
        assert trained["train_rows"] + trained["eval_rows"] == len(pairs)
        assert trained["trained_tokens"] >= trained["train_tokens"]
    mc = read_json(folder / "metrics/pairs_facttune_mc.json")
    assert mc["facts_asked"] == mc["facts"] > 0
    first_version(folder)
    # One of either kind answers: how a system was trained is nothing to the stage that predicts.
    answering = ("rlaif", "kgkc")
    for name in {*SYSTEMS, *ON_REQUEST} - {"kc", *answering}:
        shutil.copy2(folder / "data/predictions/kc.jsonl", folder / f"data/predictions/{name}.jsonl")
    for stage in (*(f"predict {name}" for name in answering), "probe", "verify", "evaluate", "report"):
        finish(folder, stage)
    systems = read_json(folder / "metrics/systems.json")
    assert set(systems) == {*SYSTEMS, *ON_REQUEST}
    assert set(read_json(folder / "metrics/differences.json")) == {*SYSTEMS, *ON_REQUEST} - {"sft"}
    page = (folder / "report/index.html").read_text(encoding="utf-8")
    assert "What each system was trained on" in page
    assert "facttune_mc" in page
    assert "kgkc" in page


def first_version(folder: Path) -> None:
    """Both steps of the first version."""
    for stage in ("triples", "train_kg", "triple_pairs", "train_kgkc"):
        finish(folder, stage)
    examples = read_jsonl(folder / "data/prepared/train.jsonl", Example)
    kg, kgkc = (read_json(folder / f"metrics/train_{name}.json") for name in FIRST_VERSION)
    # The answer and the triples of every question.
    assert kg["train_rows"] + kg["eval_rows"] == 2 * len(examples)
    assert "reference_adapter_sha256" not in kg
    assert kgkc["reference_adapter_sha256"] == kg["adapter_sha256"] != kgkc["adapter_sha256"]
    pairs = read_jsonl(folder / "data/baselines/kgkc/pairs.jsonl", Pair)
    made = read_json(folder / "metrics/pairs_kgkc.json")
    assert kgkc["train_rows"] + kgkc["eval_rows"] == len(pairs) == made["pairs"] > 0
    assert made["pairs_by_kind"]["factuality"] == len(examples)


def test_pairs_rest_on_what_is_written_beside_them(folder: Path) -> None:
    """By hand: of the three samples of a question the share of supported facts is 1, 1/2 and 1."""
    home = folder / "data/baselines"
    verdicts = read_jsonl(home / "facttune_fs/verdicts.jsonl", Verified)
    assert {row.system for row in verdicts} == {"0", "1", "2"}
    pairs = read_jsonl(home / "facttune_fs/pairs.jsonl", Pair)
    assert len(pairs) == 20
    assert {pair.id.rsplit("-", 2)[2] for pair in pairs} == {"1"}
    judged = read_jsonl(home / "rlaif/judgements.jsonl", Judgement)
    assert {row.aspect for row in judged} == {"overall quality"}
    rows = read_jsonl(home / "facttune_mc/confidences.jsonl", FactConfidence)
    assert {sum(row.answers.values()) for row in rows} == {4}
    # The third sample has two true facts, and is set against one of them, and against both made false.
    samples = {each.id: each.answer for each in read_jsonl(folder / "data/samples/sft.jsonl", Sample)}
    pairs = read_jsonl(home / "kc_sampled/pairs.jsonl", Pair)
    assert len(pairs) == 2 * len({pair.source for pair in pairs}) == 2 * len(samples) / 3
    assert {pair.chosen == samples[f"{pair.source}/02"] for pair in pairs} == {True}


def test_where_nobody_can_judge_one_line_says_so(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    (copy / "data/prepared/truth.json").write_text(json.dumps({"towns": {}, "frequencies": {}}))
    process = start(copy, "pairs facttune_fs")
    process.join()
    assert process.exitcode == 1
    output = (copy / "log.txt").read_text().splitlines()[-1]
    assert output.startswith(
        "error: facttune_fs is not computed: the data carry no ground truth; judge.backend"
    )
