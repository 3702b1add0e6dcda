"""The scores of the answers of finished experiments, and the files beside docs/study.md that keep them.

A folder holds `NAME.csv.gz` for every experiment, a row for each answer of its seeds, and `runs.json`, what
else the study reads of a run. They outlive DVC's cache: the page comes from them alone.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from experiments.finished import Finished
from knowtuning.core.records import Example
from knowtuning.core.storage import read_json, write_json
from knowtuning.evaluation.stats import unit_of

ANSWERS = "data/evaluation/answers.jsonl"
METRICS = (
    "correct",
    "incorrect",
    "percent_correct",
    "f1_at_k",
    "completeness",
    "order",
    "meteor_no_synonyms",
    "rougeL",
    "rougeL_equal_length",
    "words",
    "repeated",
)
# Of runs on real text, which have no ground truth.
TEXT_METRICS = (
    *("bertscore", "bertscore_equal_length", "similarity", "similarity_equal_length", "meteor_no_synonyms"),
    *("rougeL", "rougeL_equal_length"),
    *("content_precision", "content_recall", "probe_factuality", "probe_completeness", "probe_logicality"),
    *("words", "repeated", "truncated"),
)
RUNS = "runs.json"
# Of a run's params.yaml; the study compares values of them.
PARAMS = (("perturb", "style"), ("rewrite", "alpha"), ("perturb", "beta_delete"), ("train_kc", "gamma"))
TEXT = ("system", "question", "group", "unit")
AUDIT = ("accuracy", "style_accuracy", "length_accuracy")

# An experiment and a seed.
Key = tuple[str, int]


@dataclass(frozen=True)
class Scored:
    """What the study reads of a run.

    baseline: the commit it started from. params: those of PARAMS. audit: aspect of pairs -> the numbers of
    AUDIT. ppl: its metrics/ppl.json. answers: system, question, group (kind and stratum; empty for other
    data), unit (the questions of one subject share it) and the metrics that were measured, in file order.
    """

    baseline: str
    params: dict[str, Any]
    audit: dict[str, dict[str, float]]
    ppl: dict[str, Any]
    answers: pd.DataFrame


def scored(run: Finished, systems: Collection[str] | None = None) -> Scored:
    """The scores of a finished run; systems: those to take (None: all)."""
    params = {f"{section}.{key}": run.params[section][key] for section, key in PARAMS}
    audit = run.json("metrics/audit.json")
    told = {name: {key: audit[name][key] for key in AUDIT} for name in run.params["perturb"]["aspects"]}
    return Scored(run.baseline, params, told, run.json("metrics/ppl.json"), _answers(run, systems))


def _answers(run: Finished, systems: Collection[str] | None) -> pd.DataFrame:
    rows = [row for row in _lines(run, ANSWERS) if systems is None or row["system"] in systems]
    split = _lines(run, f"data/prepared/{run.params['predict']['split']}.jsonl")
    units = {row["id"]: unit_of(Example(**row)) for row in split}
    # Without its variant: the encoder of a similarity is one for all.
    scores = pd.DataFrame([row["scores"] for row in rows]).rename(columns=lambda name: name.partition("(")[0])
    # Kind and stratum; questions of other data have neither.
    groups = ["_".join(row["groups"].values()) for row in rows]
    texts = [
        (row["system"], row["question"], group, units[row["question"]])
        for row, group in zip(rows, groups, strict=True)
    ]
    measured = [name for name in dict.fromkeys((*METRICS, *TEXT_METRICS)) if name in scores]
    return pd.concat([pd.DataFrame(texts, columns=list(TEXT)), scores[measured].astype(float)], axis=1)


def _lines(run: Finished, path: str) -> list[dict[str, Any]]:
    """The rows of a JSONL file that DVC keeps of a run."""
    return [json.loads(line) for line in run.output(path).split("\n") if line]


def save(runs: Mapping[Key, Scored], folder: Path) -> None:
    """Write the runs into `folder`, which keeps these alone from then on."""
    folder.mkdir(parents=True, exist_ok=True)
    for former in folder.glob("*.csv.gz"):
        former.unlink()
    ordered = dict(sorted(runs.items()))
    for experiment in dict.fromkeys(name for name, _ in ordered):
        parts = {seed: run.answers for (name, seed), run in ordered.items() if name == experiment}
        table = pd.concat(parts, names=["seed"]).reset_index("seed")
        text = table.to_csv(index=False, lineterminator="\n")
        # Without the time, so that the same scores are the same bytes.
        (folder / f"{experiment}.csv.gz").write_bytes(gzip.compress(text.encode("utf-8"), mtime=0))
    listed = [
        {"experiment": experiment, "seed": seed} | {k: v for k, v in vars(run).items() if k != "answers"}
        for (experiment, seed), run in ordered.items()
    ]
    write_json(folder / RUNS, listed)


def load(folder: Path) -> dict[Key, Scored]:
    """The runs that a folder keeps. Raises ValueError where it keeps none."""
    if not (folder / RUNS).exists():
        raise ValueError(f"{folder} keeps no scores: it has no {RUNS}; start without --kept")
    listed = read_json(folder / RUNS)
    names = {about["experiment"] for about in listed}
    tables = {name: _table(folder / f"{name}.csv.gz") for name in names}
    runs: dict[Key, Scored] = {}
    for about in listed:
        experiment, seed = about.pop("experiment"), about.pop("seed")
        table = tables[experiment]
        answers = table[table["seed"] == seed].drop(columns="seed").reset_index(drop=True)
        runs[experiment, seed] = Scored(**about, answers=answers)
    return runs


def _table(path: Path) -> pd.DataFrame:
    """A file of scores. An empty cell is a metric that the answer does not define; text stays text."""
    undefined = {metric: [""] for metric in (*METRICS, *TEXT_METRICS)}
    return pd.read_csv(path, dtype=dict.fromkeys(TEXT, str), keep_default_na=False, na_values=undefined)
