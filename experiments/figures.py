"""Figures of the study as SVG, legible on light and dark pages: a panel for each metric."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

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
    """Write the estimates of `table`, row by metric, with their intervals.

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
