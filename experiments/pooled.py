"""Scores of experiments pooled over seeds and questions, as tables and figures of estimates.

Every value is a mean over the runs of an experiment, one a seed, with an interval from a two-level bootstrap
(seeds, then questions within a seed, those of one subject together); a difference is that of two means on the
same draws. An answer that does not define a metric leaves the mean of its system alone: there the two means
are not over the same questions.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from experiments.scores import METRICS, TEXT_METRICS, Key, Scored
from knowtuning.evaluation.metrics import label
from knowtuning.evaluation.stats import Estimate, Resampling, pool

OVERALL = "overall"
GROUPS = ("general_transfer", "general_recall", "specific_transfer", "specific_recall")


@dataclass(frozen=True)
class Subject:
    """What a row of a table is about: a system of an experiment."""

    experiment: str
    system: str


Rows = Mapping[str, Subject]
Pairs = Mapping[str, tuple[Subject, Subject]]


class PooledScores:
    """The scores of every answer of the experiments `runs`: (experiment, seed) -> what they scored."""

    def __init__(self, runs: Mapping[Key, Scored], how: Resampling) -> None:
        self.how = how
        self.runs = runs
        # (experiment, seed, system) -> scores by question, in file order.
        self.answers: dict[tuple[str, int, str], pd.DataFrame] = {}
        for key, run in runs.items():
            for system, part in run.answers.groupby("system", sort=False):
                self.answers[*key, str(system)] = part.dropna(axis=1, how="all").reset_index(drop=True)

    def seeds(self, *experiments: str) -> tuple[int, ...]:
        """The seeds that all of `experiments` have been run with."""
        each = [{seed for name, seed in self.runs if name == experiment} for experiment in experiments]
        return tuple(sorted(set.intersection(*each))) if each else ()

    def questions(self, experiment: str) -> int:
        """Questions of one run of an experiment (the first seed's)."""
        return len(self.answers[experiment, self.seeds(experiment)[0], "kc"])

    def of_group(self, subject: Subject, seed: int, group: str) -> pd.DataFrame:
        """The answers of a subject to the questions of a group, in file order."""
        rows = self.answers[subject.experiment, seed, subject.system]
        return rows if group == OVERALL else rows[rows["group"] == group]

    def values(self, subject: Subject, seed: int, metric: str, group: str) -> npt.NDArray[np.float64]:
        """One metric per question; NaN where an answer does not define it."""
        chosen = self.of_group(subject, seed, group)
        return chosen.get(metric, pd.Series(math.nan, chosen.index)).to_numpy(np.float64, na_value=math.nan)

    @functools.cache  # noqa: B019 (one object a program)
    def estimate(
        self, subject: Subject, against: Subject | None, metric: str, seeds: tuple[int, ...], group: str
    ) -> Estimate:
        """The mean of a metric over seeds and questions, or that of the difference to `against`."""
        values, others = (
            each and [self.values(each, seed, metric, group) for seed in seeds] for each in (subject, against)
        )
        units = [self.of_group(subject, seed, group)["unit"].tolist() for seed in seeds]
        return pool(values, self.how, against=others, units=units)

    def means(self, rows: Rows, metrics: Sequence[str] = METRICS, group: str = OVERALL) -> pd.DataFrame:
        """Estimates, row by metric, each over the seeds all of the rows have."""
        seeds = self.seeds(*{subject.experiment for subject in rows.values()})
        cells = [
            [self.estimate(row, None, metric, seeds, group) for metric in metrics] for row in rows.values()
        ]
        return pd.DataFrame(cells, index=pd.Index(rows, name=""), columns=list(metrics))

    def differences(
        self, pairs: Pairs, metrics: Sequence[str] = METRICS, group: str = OVERALL
    ) -> pd.DataFrame:
        """Estimates of the first minus the second of every pair, over the seeds both have."""
        seeds = [self.seeds(*{subject.experiment for subject in pair}) for pair in pairs.values()]
        cells = [
            [self.estimate(*pair, metric, both, group) for metric in metrics]
            for pair, both in zip(pairs.values(), seeds, strict=True)
        ]
        labels = [f"{name} ({len(both)})" for name, both in zip(pairs, seeds, strict=True)]
        return pd.DataFrame(cells, index=pd.Index(labels, name="difference (seeds)"), columns=list(metrics))


def cell(estimate: Estimate, *, signed: bool) -> str:
    """`value [low, high]`; of differences with a sign, in bold where the interval leaves out 0."""
    if math.isnan(estimate.value):
        return "–"
    form = "{:+.2f} [{:+.2f}, {:+.2f}]" if signed else "{:.2f} [{:.2f}, {:.2f}]"
    text = form.format(estimate.value, estimate.low, estimate.high).replace("-", "−")
    return f"**{text}**" if signed and estimate.excludes_zero else text


def markdown(table: pd.DataFrame, *, signed: bool = False) -> str:
    """A Markdown table of estimates, or of text as it stands; a metric goes by its label."""
    texts = table.map(lambda each: cell(each, signed=signed) if isinstance(each, Estimate) else str(each))
    texts = texts.rename(columns={metric: label(metric) for metric in (*METRICS, *TEXT_METRICS)})
    lines = [[str(texts.index.name), *texts.columns], *([name, *row] for name, *row in texts.itertuples())]
    rule = "|---" + "|---:" * len(texts.columns) + "|"
    head, *body = (f"| {' | '.join(line)} |" for line in lines)
    return "\n".join([head, rule, *body])


# Legible on light and dark pages.
GREY, BLUE = "#808080", "#3b82c4"
STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "study",
    "font.size": 8,
    **dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), GREY),
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def draw(path: Path, table: pd.DataFrame, labels: Sequence[str], x_label: str, *, joined: bool) -> None:
    """Write the estimates of `table`, row by metric, with their intervals as SVG: a panel for each metric.

    labels: of the rows, along the x axis. joined: a line through the points, which are values of a
    parameter; else they are differences, and the line of 0 is drawn.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(2.3 * len(table.columns), 1.8), layout="constrained")
        panels = figure.subplots(1, len(table.columns), squeeze=False)[0]
        for panel, (metric, estimates) in zip(panels, table.items(), strict=True):
            bounds = [[e.value - e.low for e in estimates], [e.high - e.value for e in estimates]]
            values = [e.value for e in estimates]
            panel.errorbar(labels, values, bounds, fmt="o-" if joined else "o", markersize=4, color=BLUE)
            if not joined:
                panel.axhline(0, linewidth=0.8, color=GREY)
            panel.margins(x=0.15)
            panel.set(title=metric, xlabel=x_label)
        figure.savefig(path, transparent=True, metadata={"Date": None})
