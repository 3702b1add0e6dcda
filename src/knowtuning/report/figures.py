"""The figures of the report as inline SVG. Colours are CSS classes: they follow the reader's theme."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from knowtuning.report.inputs import Row
from knowtuning.report.svg import Frame, Scale, extent, label, tag, text, title

Point = tuple[float, float]


@dataclass(frozen=True)
class Series:
    """A line of a chart. kind: the CSS class that colours it; dashed: a second line of that colour."""

    name: str
    kind: str
    points: Sequence[Point]
    dashed: bool = False


@dataclass(frozen=True)
class Figure:
    """A chart with its caption and legend: (name, CSS class, dashed) of every series."""

    svg: str
    caption: str
    legend: Sequence[tuple[str, str, bool]] = ()
    note: str = ""


def lines(
    caption: str, series: Sequence[Series], *, y_label: str, note: str = "", named: bool = False
) -> Figure:
    """Lines over training steps. Every point says its value where the pointer rests on it.

    named: write each line's name at its end too, for readers who cannot tell the colours.
    """
    steps = [x for each in series for x, _ in each.points]
    values = [y for each in series for _, y in each.points]
    right = 30.0 if named else 12.0
    margins = (14.0, right, 44.0, 52.0)
    frame = Frame((0.0, max(steps)), extent(values, zero=True), "step", y_label, margins=margins)
    marks = [part for each in series for part in _line(each, frame)]
    marks += _names(series, frame) if named else []
    legend = [(each.name, each.kind, each.dashed) for each in series]
    return Figure(frame.draw(caption, *marks), caption, legend, note)


def _line(series: Series, frame: Frame) -> list[str]:
    places = [(frame.across(x), frame.up(y)) for x, y in series.points]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    style = f"line {series.kind}" + (" dashed" if series.dashed else "")
    dots = [
        tag(
            "circle",
            title(f"{series.name}, step {step:g}: {value:.4g}"),
            cx=x,
            cy=y,
            r=5 if len(places) > 20 else 3,
            class_=f"dot {series.kind}" + (" faint" if len(places) > 20 else ""),
        )
        for (step, value), (x, y) in zip(series.points, places, strict=True)
    ]
    return [tag("polyline", points=path, class_=style), *dots]


def _names(series: Sequence[Series], frame: Frame) -> list[str]:
    """Names at the ends of the lines, from top to bottom, none closer than a line of text to the last."""
    parts, lowest = [], -math.inf
    for each in sorted(series, key=lambda s: -s.points[-1][1]):
        step, value = each.points[-1]
        lowest = max(frame.up(value) + 4, lowest + 13)
        parts.append(text(each.name, x=frame.across(step) + 7, y=lowest, class_=f"end {each.kind}"))
    return parts


def histogram(rows: Sequence[Row]) -> Figure:
    """Facts by perplexity on a logarithmic axis, stacked by whether the base model recalls them."""
    groups = list(dict.fromkeys(str(row["group"]) for row in rows))
    height: dict[float, float] = {}
    for row in rows:
        height[row["low"]] = height.get(row["low"], 0.0) + row["count"]
    low, high = min(row["low"] for row in rows), max(row["high"] for row in rows)
    name = "perplexity of a fact given its question (logarithmic)"
    frame = Frame((low, high), extent([*height.values()], zero=True), name, "facts", log_x=low < high)
    bars, done = [], dict.fromkeys(height, 0.0)
    for row in rows:
        if row["count"]:
            bars.append(_bar(row, done[row["low"]], frame))
            done[row["low"]] += row["count"]
    caption = "Perplexity of facts under the base model"
    return Figure(frame.draw(caption, *bars), caption, [(g, _class(g), False) for g in groups])


def _bar(row: Row, below: float, frame: Frame) -> str:
    left, right = frame.across(row["low"]), frame.across(row["high"])
    bottom, top = frame.up(below), frame.up(below + row["count"])
    said = f"{row['group']}: {row['count']:g} facts with perplexity {row['low']:g} to {row['high']:g}"
    width = max(right - left - 1, 1)
    kind = f"bar {_class(str(row['group']))}"
    return tag("rect", title(said), x=left, y=top, width=width, height=bottom - top, class_=kind)


def _class(name: str) -> str:
    """The CSS class of a state or an outcome."""
    return "is-" + name.replace(" ", "-")


def calibration(rows: Sequence[Row]) -> Figure:
    """Share of facts not recalled, by decile of perplexity, with intervals."""
    frame = Frame((0.4, len(rows) + 0.6), (0.0, 100.0), "decile of perplexity", "facts not recalled, %")
    marks = []
    for row in rows:
        x = frame.across(row["bin"])
        ends = {"x1": x, "x2": x, "y1": frame.up(row["percent_low"]), "y2": frame.up(row["percent_high"])}
        said = (
            f"perplexity {row['low']:g} to {row['high']:g}: not recalled {row['not_recalled']:g} of "
            f"{row['facts']:g}, {row['percent']:.1f} % [{row['percent_low']:.1f}, {row['percent_high']:.1f}]"
        )
        dot = tag("circle", cx=x, cy=frame.up(row["percent"]), r=4, class_="dot is-not-recalled")
        marks.append(tag("g", title(said), tag("line", **ends, class_="whisker is-not-recalled"), dot))
    caption = "Does perplexity find what the model does not know?"
    return Figure(frame.draw(caption, *marks), caption)


@dataclass(frozen=True)
class Estimated:
    """A value with its interval. kind: the CSS class of its colour."""

    name: str
    kind: str
    value: float
    low: float
    high: float


def intervals(caption: str, rows: Sequence[Estimated]) -> Figure:
    """Values with their intervals, one row each, on an axis that does not have to begin at 0."""
    width, step, left, bottom = 340.0, 26.0, 44.0, 26.0
    height = step * len(rows) + bottom
    low, high = extent([end for row in rows for end in (row.low, row.high)], room=0.06)
    across = Scale(low, high, left, width - 14.0)
    parts = [tag("line", x1=left, x2=width, y1=height - bottom, y2=height - bottom, class_="axis")]
    for tick in across.ticks():
        parts.append(tag("line", x1=across(tick), x2=across(tick), y1=0, y2=height - bottom, class_="grid"))
        parts.append(text(label(tick), x=across(tick), y=height - 9, text_anchor="middle"))
    for number, row in enumerate(rows):
        parts.append(_interval(row, across, step * (number + 0.5), left))
    box = f"0 0 {width:g} {height:g}"
    return Figure(tag("svg", *parts, viewBox=box, role="img", aria_label=caption, class_="chart"), caption)


def _interval(row: Estimated, across: Scale, y: float, left: float) -> str:
    return tag(
        "g",
        title(f"{row.name}: {row.value:.2f} [{row.low:.2f}, {row.high:.2f}]"),
        text(row.name, x=left - 10, y=y + 4, text_anchor="end", class_="name"),
        tag("line", x1=across(row.low), x2=across(row.high), y1=y, y2=y, class_=f"whisker {row.kind}"),
        tag("circle", cx=across(row.value), cy=y, r=4.5, class_=f"dot {row.kind}"),
    )


def outcomes(shares: Sequence[tuple[str, float]], name: str) -> str:
    """A bar of shares (outcome, percent) that sum to 100, each labelled where it has room."""
    width, height, x = 208.0, 16.0, 0.0
    parts = []
    for outcome, percent in shares:
        wide = width * percent / 100
        if percent <= 0:
            continue
        bar = tag("rect", x=x, y=0, width=wide, height=height, class_=f"bar {_class(outcome)}")
        words = [text(f"{percent:.0f}", x=x + wide / 2, y=12, text_anchor="middle", class_="on")]
        parts.append(tag("g", title(f"{outcome}: {percent:.1f} %"), bar, *(words if percent >= 9 else [])))
        x += wide
    box = f"0 0 {width:g} {height:g}"
    return tag("svg", *parts, viewBox=box, role="img", aria_label=name, class_="outcomes")
