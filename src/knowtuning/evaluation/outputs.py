"""What an evaluation writes: small metrics for git, data for plots, and the printed tables."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from knowtuning.core.storage import atomic_write, write_json
from knowtuning.evaluation.metrics import label_and_unit, leading
from knowtuning.evaluation.pairwise import CONTROLLED, Contest
from knowtuning.evaluation.stats import Estimate
from knowtuning.evaluation.summary import Summary, difference_metrics, plot_rows, systems_metrics


def write_summaries(summaries: Sequence[Summary], *, metrics: Path, plots: Path) -> None:
    """Write systems.json and differences.json under `metrics`, and under `plots` groups.csv (every group of
    questions) and systems.csv (the metrics of headlines on all questions, by label and unit)."""
    write_json(metrics / "systems.json", systems_metrics(summaries))
    write_json(metrics / "differences.json", difference_metrics(summaries))
    rows = plot_rows(summaries)
    overall = [row for row in rows if row["group"] == "overall"]
    main = leading(list(dict.fromkeys(row["metric"] for row in overall)))
    named = [row | {"metric": label_and_unit(row["metric"])} for row in overall if row["metric"] in main]
    write_csv(plots / "systems.csv", named)
    write_csv(plots / "groups.csv", rows)


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]], columns: Sequence[str] = ()) -> None:
    """Write rows of equal keys as CSV, atomically. Raises ValueError for none, unless `columns` are given."""
    if not rows and not columns:
        raise ValueError(f"{path}: found nothing to plot; expected at least one row")
    with atomic_write(path) as stream:
        writer = csv.DictWriter(stream, columns or list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def render(summary: Summary, *, baseline: str, confidence: float) -> str:
    """Two tables: the systems, and the others minus the baseline; a star where an interval excludes 0."""
    level = f"{100 * confidence:g} % interval"
    systems = _table(summary.systems, lambda e: f"{e.value:.2f} ± {(e.high - e.low) / 2:.2f}")
    differences = _table(
        summary.differences,
        lambda e: f"{e.value:+.2f} [{e.low:+.2f}, {e.high:+.2f}]{'*' if e.excludes_zero else ' '}",
    )
    return "\n".join(
        [
            f"{summary.group}: {summary.questions} questions; mean ± half the {level}",
            *systems,
            "",
            f"difference to {baseline}, {level}; * excludes 0",
            *differences,
        ]
    )


def _table(columns: Mapping[str, dict[str, Estimate]], cell: Callable[[Estimate], str]) -> list[str]:
    """Lines of a table with a row per metric; "-" where no answer defines the metric."""
    metrics = list(next(iter(columns.values()), {}))
    rows: list[list[str]] = [["", *columns]]
    for metric in metrics:
        estimates = [column[metric] for column in columns.values()]
        rows.append([metric, *(cell(each) if each.n else "-" for each in estimates)])
    return _aligned(rows)


def render_contests(contests: Sequence[Contest], *, confidence: float) -> str:
    """An aligned table of pairs by aspects: win, tie, lose, unjudged, and net rates with intervals.

    A net rate whose p value, adjusted for the aspects of its pair, is below 1 - confidence carries a star.
    """
    level = f"{100 * confidence:g} % interval"
    rows = [["pairwise", "win", "tie", "lose", "unjudged", f"net, {level}", "net at equal length"]]
    for one in contests:
        rates = [f"{one.estimates[name].value:.1f}" for name in ("win", "tie", "lose", "unjudged")]
        star = "*" if one.p_holm < 1 - confidence else " "
        nets = [_interval(one.estimates["net"], star), _interval(one.estimates[CONTROLLED], "")]
        rows.append([f"{one.a}-{one.b} {one.aspect}", *rates, *nets])
    note = "% of all questions; net: win - lose, % of the judged; * differs from 0, adjusted for the aspects"
    return "\n".join([note, *_aligned(rows)])


def _interval(estimate: Estimate, mark: str) -> str:
    return f"{estimate.value:+.1f} [{estimate.low:+.1f}, {estimate.high:+.1f}]{mark}" if estimate.n else "-"


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table, the first column left and the others right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  ".join([row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))])
        for row in rows
    ]
