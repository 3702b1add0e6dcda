"""Scores of experiments pooled over seeds and questions, and tables of them.

Every value is a mean over the runs of an experiment, one a seed, with an interval from a two-level bootstrap
(seeds, then questions within a seed); a difference is taken question by question within a seed.
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from experiments.finished import Finished
from knowtuning.evaluation.stats import Estimate, Resampling, pool

ANSWERS = "data/evaluation/answers.jsonl"
METRICS = ("correct", "incorrect", "completeness", "order", "meteor_no_synonyms", "rougeL", "words")
OVERALL = "overall"
GROUPS = ("general_transfer", "general_recall", "specific_transfer", "specific_recall")

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Subject:
    """What a row of a table is about: a system of an experiment."""

    experiment: str
    system: str


class Scores:
    """The scores of every answer of the experiments `runs`: (experiment, seed) -> finished run."""

    def __init__(self, runs: dict[tuple[str, int], Finished], how: Resampling) -> None:
        self.how = how
        self.runs = runs
        self.rows: dict[tuple[str, int], list[dict[str, Any]]] = {
            key: [json.loads(line) for line in run.output(ANSWERS).splitlines()] for key, run in runs.items()
        }

    def seeds(self, *experiments: str) -> list[int]:
        """The seeds that all of `experiments` have been run with."""
        found = [{seed for name, seed in self.runs if name == experiment} for experiment in experiments]
        return sorted(set.intersection(*found)) if found else []

    def questions(self, experiment: str) -> int:
        """Questions of one run of an experiment (the first seed's)."""
        rows = self.rows[experiment, self.seeds(experiment)[0]]
        return len({row["question"] for row in rows})

    def values(self, subject: Subject, seed: int, metric: str, group: str) -> Floats:
        """One metric per question, in file order; NaN where an answer does not define it."""
        kind, _, stratum = group.partition("_")
        found = [
            row["scores"].get(metric)
            for row in self.rows[subject.experiment, seed]
            if row["system"] == subject.system
            and (group == OVERALL or row["groups"] == {"kind": kind, "stratum": stratum})
        ]
        return np.array([math.nan if value is None else float(value) for value in found])

    @functools.cache  # noqa: B019 (one object a program)
    def mean(self, subject: Subject, metric: str, seeds: tuple[int, ...], group: str = OVERALL) -> Estimate:
        """The mean of a metric over seeds and questions."""
        return pool([self.values(subject, seed, metric, group) for seed in seeds], self.how)

    @functools.cache  # noqa: B019 (one object a program)
    def difference(
        self,
        subject: Subject,
        against: Subject,
        metric: str,
        seeds: tuple[int, ...],
        group: str = OVERALL,
    ) -> Estimate:
        """The mean of `subject` minus `against` on the same questions of the same seeds."""
        others = [self.values(against, seed, metric, group) for seed in seeds]
        return pool([self.values(subject, seed, metric, group) for seed in seeds], self.how, against=others)


def cell(found: Estimate, *, signed: bool = False) -> str:
    """`value [low, high]`; of differences with a sign, in bold where the interval leaves out 0."""
    if math.isnan(found.value):
        return "–"
    form = "{:+.2f} [{:+.2f}, {:+.2f}]" if signed else "{:.2f} [{:.2f}, {:.2f}]"
    text = form.format(found.value, found.low, found.high).replace("-", "−")
    return f"**{text}**" if signed and found.excludes_zero else text


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, the first column to the left."""
    lines = [f"| {' | '.join(head)} |", "|---" + "|---:" * (len(head) - 1) + "|"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])
