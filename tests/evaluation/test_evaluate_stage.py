"""The evaluate stage as a user runs it, on a closed world of three towns."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from knowtuning.core.records import (
    ASPECTS,
    SYSTEMS,
    Example,
    FactScore,
    Prediction,
    Preference,
    Scored,
    read_jsonl,
    write_jsonl,
)
from knowtuning.core.storage import digest_folder, read_json, write_json
from knowtuning.evaluation.answers import Scores
from knowtuning.world.wording import NAMES, say

ROOT = Path(__file__).resolve().parents[2]
TOWNS = {
    name: {attribute: f"{attribute}{name}" for attribute in NAMES} for name in ("Aldow", "Brimm", "Corvel")
}
PARAMS = """
seed: 7
predict: {split: test, max_new_tokens: 64, limit: null}
evaluate:
  resamples: 1000
  confidence: 0.95
  audit_folds: 2
  bertscore: {encoder: null, revision: null, layers: null, rescale: true}
judge:
  {backend: exact, model: stub, base_url: null, temperature: 0.0, top_p: null, max_tokens: 1024,
  seed: null, pairs: [[kc, sft], [sft, base]], max_unjudged: 0.05}
prepare: {source: world}
base: {source: scratch, hub: {id: null, revision: null}}
model: {template: bare, max_length: 512}
teacher: {backend: rules, model: none}
lora: {r: 4, alpha: 8, targets: all-linear}
train_sft: {lr: 0.1, epochs: 1, batch: 2}
rewrite: {alpha: 0.5}
perturb: {style: matched, completeness: true, factuality: true, logicality: true, beta_delete: 0.5}
train_ka: {lr: 0.1, epochs: 1, batch: 2}
train_kc: {lr: 0.1, epochs: 1, batch: 2, beta: 0.3, gamma: 0.2, reference: ka}
"""


def true(name: str, count: int) -> list[str]:
    return [say(attribute, 0, name, TOWNS[name][attribute]) for attribute in NAMES[:count]]


def false(name: str) -> str:
    return say(NAMES[-1], 0, name, "Nowhere")


def answer(system: str, name: str) -> str:
    """base states 1 false fact; sft 2 true and 1 false; ka 3 true; kc all true."""
    said = {"base": [], "sft": true(name, 2), "ka": true(name, 3), "kc": true(name, len(NAMES))}[system]
    return " ".join([*said, false(name)] if system in ("base", "sft") else said)


def write_inputs(folder: Path) -> None:
    data = folder / "data"
    (folder / "params.yaml").write_text(PARAMS)
    write_json(data / "prepared/truth.json", {"towns": TOWNS})
    examples = [
        Example(
            id=name,
            question=f"Tell me about {name}.",
            answer=" ".join(true(name, len(NAMES))),
            meta={"entity": name, "kind": "general", "attributes": list(NAMES), "stratum": "transfer"},
        )
        for name in TOWNS
    ]
    write_jsonl(data / "prepared/test.jsonl", examples)
    for system in SYSTEMS:
        given = [
            Prediction(id=e.id, question=e.question, answer=answer(system, e.id), tokens=9, truncated=False)
            for e in examples
        ]
        write_jsonl(data / f"predictions/{system}.jsonl", given)
    facts = [FactScore(text=f"fact {i}", logps=-1.0, tokens=2, ppl=1.0 + i, recalled=i < 2) for i in range(4)]
    write_jsonl(data / "knowledge/scored.jsonl", [Scored(id="a", question="?", answer=".", facts=facts)])
    pairs = [
        Preference(id=f"{n}/{a}", source=n, aspect=a, question="?", chosen="A b, c.", rejected="A. B.")
        for n in TOWNS
        for a in ASPECTS
    ]
    write_jsonl(data / "knowledge/kc.jsonl", pairs)


def leaves(value: Any) -> Iterator[Any]:
    """All values of nested mappings."""
    if isinstance(value, dict):
        for each in value.values():
            yield from leaves(each)
    else:
        yield value


def run_stage(folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "DVC_ROOT": str(folder), "HOME": str(folder)}
    return subprocess.run(
        [sys.executable, "-m", "stages.evaluate"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
    )


@pytest.mark.slow
def test_stage_end_to_end(tmp_path: Path) -> None:
    write_inputs(tmp_path)
    done = run_stage(tmp_path)
    assert done.returncode == 0, done.stderr
    systems = read_json(tmp_path / "metrics/systems.json")
    facts = len(NAMES)
    assert {s: systems[s]["overall"]["correct"] for s in SYSTEMS} == {
        "base": 0.0,
        "sft": 2.0,
        "ka": 3.0,
        "kc": float(facts),
    }
    assert systems["sft"]["overall"]["percent_correct"] == 66.6667
    assert systems["kc"]["general_transfer"]["completeness"] == 100.0
    assert systems["kc"]["overall"]["rougeL"] == 100.0
    differences = read_json(tmp_path / "metrics/differences.json")
    gain = facts - 2.0
    assert differences["kc"]["overall"]["correct"] == {"mean": gain, "low": gain, "high": gain}
    assert differences["base"]["overall"]["incorrect"] == {"mean": 0.0, "low": 0.0, "high": 0.0}
    # ppl 1 and 2 are recalled, 3 and 4 are not: perfectly ranked.
    assert read_json(tmp_path / "metrics/ppl.json")["auroc"] == 1.0
    audit = read_json(tmp_path / "metrics/audit.json")
    assert {aspect: found["style_accuracy"] for aspect, found in audit.items()} == dict.fromkeys(
        ASPECTS, 100.0
    )
    # kc states all facts in order, sft two and a false one, base the false one alone.
    judge = read_json(tmp_path / "metrics/judge.json")
    assert {pair: {a: (f["win"], f["tie"]) for a, f in found.items()} for pair, found in judge.items()} == {
        "kc-sft": {"completeness": (100.0, 0.0), "factuality": (100.0, 0.0), "logicality": (0.0, 100.0)},
        "sft-base": {"completeness": (100.0, 0.0), "factuality": (0.0, 100.0), "logicality": (0.0, 100.0)},
    }
    raw = read_json(tmp_path / "metrics/facts.json")["sft"]["raw"]
    assert (raw["correct"], raw["incorrect"], raw["total"]) == (6, 3, 9)
    # DVC drops lists from metrics without a word.
    for path in (tmp_path / "metrics").glob("*.json"):
        assert all(isinstance(leaf, int | float | str) for leaf in leaves(read_json(path))), path
    answers = read_jsonl(tmp_path / "data/evaluation/answers.jsonl", Scores)
    assert len(answers) == len(TOWNS) * len(SYSTEMS)
    assert [s.verdict for s in answers[-1].sentences] == ["correct", "correct", "incorrect"]
    assert (tmp_path / "plots/systems.csv").read_text().startswith("group,system,metric,value,low,high,n\n")
    assert "correct" in done.stdout
    assert "sft-base logicality" in done.stdout
    assert f"+{gain:.2f} [+{gain:.2f}, +{gain:.2f}]*" in done.stdout

    page = (tmp_path / "report/index.html").read_text(encoding="utf-8")
    assert "kc against sft on 3 questions" in page
    assert TOWNS["Brimm"][NAMES[0]] in page

    before = {name: digest_folder(tmp_path / name) for name in ("metrics", "plots", "data", "report")}
    assert run_stage(tmp_path).returncode == 0
    assert {name: digest_folder(tmp_path / name) for name in before} == before


def test_stale_predictions_end_in_one_line(tmp_path: Path) -> None:
    write_inputs(tmp_path)
    lines = (tmp_path / "data/predictions/ka.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "data/predictions/ka.jsonl").write_text("".join(lines[:-1]))
    done = run_stage(tmp_path)
    assert done.returncode == 1
    assert done.stderr == (
        "error: data/predictions/ka.jsonl: found 2 answers, expected one to each of 3 questions "
        "('Corvel' is not answered); run predict again\n"
    )
    assert not (tmp_path / "metrics").exists()
