"""Averages of the systems and their differences, with paired bootstrap intervals.

The headline `percent_correct` is the mean of per-answer shares, over the answers that state a fact;
`percent_correct_pooled` is the share of all stated facts, in which a long answer weighs more.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from knowtuning.core.records import Scores
from knowtuning.core.tables import grouped
from knowtuning.evaluation.stats import Estimate, Ratios, Resampling, summarise
from knowtuning.systems import BASELINE

POOLED = "percent_correct_pooled"
# Scores that some answers leave undefined: the size of the rest is always reported.
PARTIAL = ("percent_correct", "order")


@dataclass(frozen=True)
class Summary:
    """Estimates of one group of questions by system and metric; differences: to those of the baseline."""

    group: str
    questions: int
    systems: dict[str, dict[str, Estimate]]
    differences: dict[str, dict[str, Estimate]]


def summarise_groups(rows: Sequence[Scores], how: Resampling, *, baseline: str = BASELINE) -> list[Summary]:
    """A summary of all questions (`overall`), and of each stratum that the rows name.

    Every system must have a row for every question; `score_answers` makes such rows.
    """
    tables = grouped(rows, lambda row: row.system)
    groups = [row.groups for row in tables[baseline]]
    return [
        _summary(name, {s: [mine[i] for i in at] for s, mine in tables.items()}, how.at(at), baseline)
        for name, at in members(groups)
    ]


def members(groups: Sequence[Mapping[str, str]]) -> Iterator[tuple[str, list[int]]]:
    """Names of the groups with the positions of their questions.

    First `overall`; then the values of each stratum; then, where there are two strata, the values of
    both together, as `general_transfer`.
    """
    yield "overall", list(range(len(groups)))
    keys = list(groups[0])
    named = [tuple(each[key] for key in keys) for each in groups]
    singles = [tuple(name[i : i + 1] for name in named) for i in range(len(keys))]
    for labels in [*singles, tuple(named)] if len(keys) > 1 else singles:
        for label in sorted(set(labels)):
            yield "_".join(label), [i for i, name in enumerate(labels) if name == label]


def _summary(group: str, tables: Mapping[str, list[Scores]], how: Resampling, baseline: str) -> Summary:
    """Estimates of all systems from the same resamples of the group's questions."""
    names, base = list(tables), list(tables).index(baseline)
    metrics, parts = zip(*(_ratios(rows) for rows in tables.values()), strict=True)
    width = len(metrics[0])
    ratios = Ratios.joined(parts)
    shape = (len(names), width)
    values, defined = ratios.values.reshape(shape), ratios.defined.reshape(shape)
    draws = ratios.draws(how, f"systems/{group}").reshape(-1, *shape)

    def estimated(index: int, against: int | None = None) -> dict[str, Estimate]:
        value, draw, count = values[index], draws[:, index], defined[index]
        if against is not None:
            value, draw = value - values[against], draw - draws[:, against]
            count = np.minimum(count, defined[against])
        return dict(zip(metrics[0], summarise(value, draw, count, how), strict=True))

    return Summary(
        group=group,
        questions=len(tables[baseline]),
        systems={name: estimated(i) for i, name in enumerate(names)},
        differences={name: estimated(i, base) for i, name in enumerate(names) if i != base},
    )


def _ratios(rows: Sequence[Scores]) -> tuple[list[str], Ratios]:
    """Metric names and their ratios over the questions of one system's rows."""
    names = list(rows[0].scores)
    # What an answer does not define, None, becomes NaN.
    table = np.array([[row.scores[name] for name in names] for row in rows], dtype=np.float64)
    ratios = Ratios.of_means(table)
    if "percent_correct" not in names:
        return names, ratios
    correct, incorrect = table[:, names.index("correct")], table[:, names.index("incorrect")]
    # An answer without verdicts (NaN) adds nothing to either sum.
    pooled = Ratios.of_sums(np.nan_to_num(100 * correct), np.nan_to_num(correct + incorrect))
    return [*names, POOLED], Ratios.joined([ratios, pooled])


def systems_metrics(summaries: Sequence[Summary]) -> dict[str, Any]:
    """system -> group -> metric -> mean, with `questions` and the denominators of partial metrics."""
    tree: dict[str, Any] = {}
    for summary in summaries:
        for system, metrics in summary.systems.items():
            leaf: dict[str, float] = {"questions": summary.questions}
            for name, estimate in metrics.items():
                if estimate.n:
                    leaf[name] = estimate.value
                if name in PARTIAL or (name != POOLED and estimate.n < summary.questions):
                    leaf[f"{name}_n"] = estimate.n
            tree.setdefault(system, {})[summary.group] = leaf
    return tree


def difference_metrics(summaries: Sequence[Summary]) -> dict[str, Any]:
    """system -> group -> metric -> {mean, low, high}: the difference to the baseline system."""
    tree: dict[str, Any] = {}
    for summary in summaries:
        for system, metrics in summary.differences.items():
            tree.setdefault(system, {})[summary.group] = {
                name: {"mean": each.value, "low": each.low, "high": each.high}
                for name, each in metrics.items()
                if each.n
            }
    return tree


def plot_rows(summaries: Sequence[Summary]) -> list[dict[str, Any]]:
    """Tidy rows of every group, system and metric, for bars with intervals."""
    return [
        {"group": summary.group, "system": system, "metric": name, **vars(estimate)}
        for summary in summaries
        for system, metrics in summary.systems.items()
        for name, estimate in metrics.items()
        if estimate.n
    ]
