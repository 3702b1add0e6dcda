"""The printed table of systems by metrics."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from knowtuning.evaluation.stats import Estimate
from knowtuning.evaluation.summary import Summary
from knowtuning.records import System


def render(summary: Summary, *, baseline: str, confidence: float) -> str:
    """Two aligned tables: the systems, and the other systems minus the baseline.

    A difference whose interval excludes 0 carries a star.
    """
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


def _table(columns: Mapping[System, dict[str, Estimate]], cell: Callable[[Estimate], str]) -> list[str]:
    """Lines of a table with a row per metric; "-" where no answer defines the metric."""
    metrics = list(next(iter(columns.values()), {}))
    rows: list[list[str]] = [["", *columns]]
    for metric in metrics:
        found = [column[metric] for column in columns.values()]
        rows.append([metric, *(cell(each) if each.n else "-" for each in found)])
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  ".join([row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))])
        for row in rows
    ]
