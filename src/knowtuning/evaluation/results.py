"""The files of an evaluation: small metrics for git, data for plots, and the scores of every answer."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from knowtuning.core.records import Scores
from knowtuning.core.storage import atomic_write, write_json
from knowtuning.evaluation.facts import fact_metrics
from knowtuning.evaluation.pairwise import Contest, judge_metrics
from knowtuning.evaluation.stats import Resampling
from knowtuning.evaluation.summary import Summary, difference_metrics, plot_rows, systems_metrics


def write_summaries(summaries: Sequence[Summary], *, metrics: Path, plots: Path) -> None:
    """Write systems.json and differences.json under `metrics`, and under `plots` systems.csv (all
    questions together) and groups.csv (every group of questions)."""
    write_json(metrics / "systems.json", systems_metrics(summaries))
    write_json(metrics / "differences.json", difference_metrics(summaries))
    rows = plot_rows(summaries)
    write_csv(plots / "systems.csv", [row for row in rows if row["group"] == "overall"])
    write_csv(plots / "groups.csv", rows)


def write_judging(
    rows: Sequence[Scores],
    contests: Sequence[Contest],
    how: Resampling,
    *,
    metrics: Path,
    status: str,
) -> None:
    """Write facts.json and judge.json under `metrics`; only the status where nothing was verified."""
    computed = status == "computed"
    facts = fact_metrics(rows, how) if computed else {}
    write_json(metrics / "facts.json", {"status": status, **facts})
    write_json(metrics / "judge.json", judge_metrics(contests) if computed else {"status": status})


def write_csv(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write rows of the same keys as CSV, atomically. Raises ValueError where there is no row."""
    if not rows:
        raise ValueError(f"{path}: found nothing to plot; expected at least one row")
    with atomic_write(path) as stream:
        writer = csv.DictWriter(stream, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def write_table(path: Path, columns: Sequence[str], rows: Sequence[dict[str, Any]]) -> None:
    """Write rows with these columns as CSV, atomically; no row leaves the header alone."""
    with atomic_write(path) as stream:
        writer = csv.DictWriter(stream, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
