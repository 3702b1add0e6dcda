"""Tables over seeds: `python experiments/table.py --seeds 1 2 3 > docs/world.md`.

Reads the answers' scores that `experiments/run.py` left behind (experiments `<name>-s<seed>`), pools
seeds and questions, and prints Markdown: the systems of the default run, the system kc of every ablation,
and differences to sft and to the full method, with 95 % intervals (two-level bootstrap, seeds and questions).
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

from knowtuning.evaluation.answers import Scores
from knowtuning.evaluation.stats import Estimate, Resampling, pool
from knowtuning.evaluation.summary import score_matrix
from knowtuning.records import ASPECTS, SYSTEMS, System

ANSWERS, AUDIT = "data/evaluation/answers.jsonl", "metrics/audit.json"
METRICS = ("correct", "incorrect", "completeness", "order", "meteor", "rougeL", "words")
ABLATIONS = ("no-ka", "no-kcc", "no-kfc", "no-klc", "paper-style", "base-reference")
GROUPS = ("overall", "general_transfer", "general_recall", "specific_transfer", "specific_recall")

Rows = list[Scores]


def read(experiment: str, path: str) -> str:
    """A file as an experiment made it, from the DVC cache or git."""
    import dvc.api

    return str(dvc.api.read(path, rev=experiment, encoding="utf-8"))


def load(names: list[str]) -> dict[str, Rows]:
    """The scores of every answer of each experiment."""
    return {
        name: [Scores.model_validate_json(line) for line in read(name, ANSWERS).splitlines()]
        for name in names
    }


def values(rows: Rows, system: System, metric: str, group: str) -> npt.NDArray[np.float64]:
    """One metric of one system over the questions of a group, in file order; NaN where undefined."""
    kind, _, stratum = group.partition("_")
    asked = [
        row
        for row in rows
        if kind == "overall" or (row.groups["kind"] == kind and row.groups["stratum"] == stratum)
    ]
    return score_matrix(asked, system, metric)


def cell(found: Estimate, *, signed: bool = False) -> str:
    """`value [low, high]`; of differences, in bold where the interval leaves out 0."""
    form = "{:+.2f} [{:+.2f}, {:+.2f}]" if signed else "{:.2f} [{:.2f}, {:.2f}]"
    text = form.format(found.value, found.low, found.high)
    return f"**{text}**" if signed and (found.low > 0 or found.high < 0) else text


def table(title: str, head: str, lines: dict[str, list[str]]) -> str:
    """A Markdown table with the metrics as columns."""
    rows = [f"| {head} | " + " | ".join(METRICS) + " |", "|---" * (len(METRICS) + 1) + "|"]
    rows += [f"| {name} | " + " | ".join(cells) + " |" for name, cells in lines.items()]
    return "\n".join([f"### {title}", "", *rows, ""])


def group_tables(
    data: dict[str, Rows], seeds: list[int], ablations: list[str], group: str, how: Resampling
) -> str:
    """Means, differences to sft, and differences of the ablations to the full method."""

    def runs(experiment: str, system: System, metric: str) -> list[npt.NDArray[np.float64]]:
        return [values(data[f"{experiment}-s{seed}"], system, metric, group) for seed in seeds]

    systems: list[tuple[str, str, System]] = [(system, "default", system) for system in SYSTEMS]
    systems += [(f"kc, {name}", name, "kc") for name in ablations]
    means = {label: [cell(pool(runs(e, s, m), how)) for m in METRICS] for label, e, s in systems}
    against = {
        label: [
            cell(pool(runs(e, s, m), how, against=runs("default", "sft", m)), signed=True) for m in METRICS
        ]
        for label, e, s in systems
        if s != "sft"
    }
    effects = {
        name: [
            cell(pool(runs("default", "kc", m), how, against=runs(name, "kc", m)), signed=True)
            for m in METRICS
        ]
        for name in ablations
    }
    return "\n".join(
        [
            table(f"{group}: means", "system", means),
            table(f"{group}: difference to sft", "system", against),
            table(f"{group}: the full method (kc) minus the ablation", "ablation", effects),
        ]
    )


def audit_table(seeds: list[int]) -> str:
    """The shortcut audit of both styles: how often form alone tells chosen from rejected (50 = chance)."""
    lines = ["| style | aspect | form and length | form without length | length alone |", "|---" * 5 + "|"]
    for style, name in (("matched", "default"), ("paper", "paper-style")):
        found = [json.loads(read(f"{name}-s{seed}", AUDIT)) for seed in seeds]
        for aspect in ASPECTS:
            cells = [
                f"{np.mean([run[aspect][key] for run in found]):.1f}"
                for key in ("accuracy", "style_accuracy", "length_accuracy")
            ]
            lines.append(f"| {style} | {aspect} | " + " | ".join(cells) + " |")
    return "\n".join(["### Shortcut audit, accuracy in % over held-out pairs", "", *lines, ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--groups", nargs="+", default=list(GROUPS), choices=GROUPS)
    parser.add_argument("--ablations", nargs="*", default=list(ABLATIONS), help="experiments beside default")
    arguments = parser.parse_args()
    names = [f"{name}-s{seed}" for name in ("default", *arguments.ablations) for seed in arguments.seeds]
    data = load(names)
    how = Resampling(1, 10_000, 0.95)
    for group in arguments.groups:
        print(group_tables(data, arguments.seeds, arguments.ablations, group, how))
    if "paper-style" in arguments.ablations:
        print(audit_table(arguments.seeds))


if __name__ == "__main__":
    main()
