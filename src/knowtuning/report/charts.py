"""The charts of the report, drawn by matplotlib as SVG that takes its colours from the page.

matplotlib rather than a Vega specification shared with `dvc plots`: a page that needs no network would have
to carry Vega's runtime (some 800 kB of JavaScript), or the build a binary that renders it.
"""

from __future__ import annotations

import html
import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from knowtuning.evaluation.metrics import label_and_unit, leading
from knowtuning.report.inputs import TRAINED, Inputs, Row
from knowtuning.systems import EVERY, trained

# Variables of style.css. In the drawing a colour is its place here, which the page's variable replaces.
COLOURS = ("ink", "soft", "rule", "bad", *(f"s{number}" for number in range(8)))
_PLACEHOLDER = re.compile("#c0de([0-9a-f]{2})")
# Systems differ in their markers too, for readers who cannot tell the colours.
MARKERS = "osD^vPX*"
_STYLE = {
    "svg.fonttype": "none",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "legend.frameon": False,
}
_SHADES = {
    "grid.color": "rule",
    **dict.fromkeys(
        ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), "soft"
    ),
}


@dataclass(frozen=True)
class Chart:
    """A chart with its caption and a note on how to read it."""

    svg: str
    caption: str
    note: str = ""


def position(system: str) -> int:
    """A system's place among the colours and markers; further systems take them again."""
    return list(EVERY).index(system) % len(MARKERS)


def colour(name: str) -> str:
    """A variable of the style sheet as a colour for matplotlib."""
    return f"#c0de{COLOURS.index(name):02x}"


def colour_of(system: str) -> str:
    return colour(f"s{position(system)}")


def draw(
    caption: str, paint: Callable[[Any], None], *, size: tuple[float, float] = (6, 3.6), note: str = ""
) -> Chart:
    """A chart of what `paint` puts on a pair of axes; an artist's gid is what the pointer shows on it.

    size: width and height in inches, of which the page keeps the ratio. Equal data give equal bytes.
    """
    from matplotlib import rc_context, rcParamsDefault
    from matplotlib.figure import Figure

    # The caption as salt: no two charts of the page share an id.
    style: dict[Any, Any] = {**rcParamsDefault, **_STYLE, "svg.hashsalt": caption}
    style |= {name: colour(shade) for name, shade in _SHADES.items()}
    del style["backend"]
    with rc_context(style):
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.subplots()
        axes.set_axisbelow(True)
        paint(axes)
        if names := axes.get_legend_handles_labels()[1]:
            figure.legend(loc="outside upper left", ncols=4 if len("".join(names)) < 40 else 2)
        stream = io.StringIO()
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(stream, format="svg", transparent=True, metadata=nothing)
    return Chart(_for_page(stream.getvalue(), caption), caption, note)


def _for_page(svg: str, caption: str) -> str:
    """The SVG as a part of a page whose policy bans styles in it, and whose style sheet has its colours."""
    box = re.search(r'viewBox="([^"]*)"', svg)
    assert box
    body = re.sub(r"<style.*?</style>|<!--.*?-->", "", svg[svg.index("<defs>") :], flags=re.DOTALL)
    body = re.sub(r' style="([^"]*)"', lambda match: _attributes(match[1]), body)
    # Ids that matplotlib counts up are in every chart; the others are words for the pointer.
    body = re.sub(r'<g id="(?:[\w.]+_\d+)">', "<g>", body)
    body = re.sub(r'<g id="([^"]*)">', r"<g><title>\1</title>", body)
    body = _PLACEHOLDER.sub(lambda match: f"var(--{COLOURS[int(match[1], 16)]})", body)
    body = "".join(line.strip() + "\n" for line in body.splitlines() if line.strip())
    name = html.escape(caption)
    return f'<svg class="chart" viewBox="{box[1]}" role="img" aria-label="{name}">\n{body.strip()}'


def _attributes(style: str) -> str:
    """Declarations as attributes, but for the font, which is the page's."""
    pairs = [part.strip().split(": ", 1) for part in style.split(";") if ": " in part]
    return "".join(f' {name}="{value}"' for name, value in pairs if name != "font-family")


def headline(inputs: Inputs) -> list[Chart]:
    """The main metrics of all systems with their intervals."""
    rows = {(row["metric"], row["system"]): row for row in inputs.groups if row["group"] == "overall"}
    # A chart of zeros shows nothing.
    names = leading(list(dict.fromkeys(name for (name, _), row in rows.items() if row["high"] or row["low"])))
    charts = []
    for name in names:
        mine = {system: rows[name, system] for system in inputs.systems if (name, system) in rows}
        size = (4, 0.5 + len(mine) / 4)
        charts.append(draw(label_and_unit(name), partial(_intervals, rows=mine), size=size))
    return charts


def _intervals(axes: Any, rows: Mapping[str, Row]) -> None:
    """Values with their intervals, a row each, on an axis that does not have to begin at 0."""
    for number, (system, row) in enumerate(rows.items()):
        words = f"{system}: {row['value']:.2f} [{row['low']:.2f}, {row['high']:.2f}]"
        look = {"color": colour_of(system), "gid": words}
        axes.plot([row["low"], row["high"]], [number, number], linewidth=2.5, **look)
        axes.plot([row["value"]], [number], marker=MARKERS[position(system)], markersize=7, **look)
    axes.set_yticks(range(len(rows)), list(rows))
    axes.tick_params(axis="y", length=0, labelcolor=colour("ink"))
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.locator_params(axis="x", nbins=5)  # more numbers would touch each other in so small a chart
    axes.grid(visible=False, axis="y")
    axes.spines["left"].set_visible(False)


Curve = Sequence[tuple[float, float]]
# Curves of preference training: caption, unit, and the names of the lines with their files.
_PREFERENCE = (
    ("reward margin", "chosen minus rejected", {"": "rewards/margins"}),
    ("preference accuracy", "share with the chosen ahead", {"": "rewards/accuracies"}),
    (
        "log-probabilities",
        "sum over an answer, nats",
        {"chosen": "logps/chosen", "rejected": "logps/rejected"},
    ),
)


def training(inputs: Inputs) -> list[Chart]:
    """Losses; margins, accuracies and log-probabilities of preference training; where they were logged."""
    charts = []
    others = [name for name in inputs.systems if EVERY[name].objective == "preference"]
    note = (
        f"{', '.join(others)}: preference loss plus the weighted NLL of the chosen answers; "
        "not comparable with the others."
    )
    for name, caption in (("loss", "Training loss"), ("eval_loss", "Validation loss")):
        lines = [
            _Line(system, curve, colour_of(system), MARKERS[position(system)])
            for stage, system in TRAINED.items()
            if (curve := inputs.curves[stage].get(name))
        ]
        charts += [_over_steps(caption, "loss, nats", lines, note)] if lines else []
    for system in others:
        curves, marker = inputs.curves[trained()[system].section], MARKERS[position(system)]
        for caption, unit, files in _PREFERENCE:
            lines = [
                _Line(f"{side} {part}".strip(), curves[prefix + file], shade, marker, dashed=bool(prefix))
                for (side, file), shade in zip(
                    files.items(), (colour_of(system), colour("bad")), strict=False
                )
                for part, prefix in (("training", ""), ("validation", "eval_"))
                if prefix + file in curves
            ]
            charts += [_over_steps(f"{system}: {caption}", unit, lines)] if lines else []
    return charts


@dataclass(frozen=True)
class _Line:
    name: str
    curve: Curve
    colour: str
    marker: str
    dashed: bool = False


def _over_steps(caption: str, unit: str, lines: Sequence[_Line], note: str = "") -> Chart:
    def paint(axes: Any) -> None:
        for line in lines:
            steps, values = zip(*line.curve, strict=True)
            axes.plot(
                *(steps, values),
                color=line.colour,
                linestyle="--" if line.dashed else "-",
                marker=line.marker,
                markersize=4,
                markevery=max(1, len(steps) // 10),
                label=line.name,
                gid=f"{line.name}: {values[0]:.4g} at step {steps[0]:g}, {values[-1]:.4g} at {steps[-1]:g}",
            )
        axes.set(xlabel="step", ylabel=unit)
        axes.ticklabel_format(useOffset=False)

    return draw(caption, paint, note=note)


# Whether the base model recalls a fact -> a colour.
_STATES = {"recalled": "s1", "not recalled": "bad", "unknown": "s0"}


def perplexity(inputs: Inputs) -> list[Chart]:
    """The histogram of facts by perplexity, and the calibration where facts have a ground truth."""
    charts = []
    if inputs.ppl:
        charts.append(draw("Perplexity of facts under the base model", partial(_histogram, rows=inputs.ppl)))
    if inputs.calibration:
        caption = "Does perplexity find what the model does not know?"
        charts.append(draw(caption, partial(_calibration, rows=inputs.calibration)))
    return charts


def _histogram(axes: Any, rows: Sequence[Row]) -> None:
    """Facts by perplexity on a logarithmic axis, stacked by whether the base model recalls them."""
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    below: dict[float, float] = {}
    for state, shade in _STATES.items():
        mine = [row for row in rows if row["group"] == state]
        bars = axes.bar(
            [row["low"] for row in mine],
            [row["count"] for row in mine],
            [row["high"] - row["low"] for row in mine],
            [below.get(row["low"], 0) for row in mine],
            align="edge",
            color=colour(shade),
            label=state if mine else None,
        )
        for bar, row in zip(bars, mine, strict=True):
            bar.set_gid(f"{state}: {row['count']:g} facts with perplexity {row['low']:g} to {row['high']:g}")
            below[row["low"]] = below.get(row["low"], 0) + row["count"]
    axes.set(xlabel="perplexity of a fact given its question (logarithmic)", ylabel="facts", xscale="log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.grid(visible=False, axis="x")


def _calibration(axes: Any, rows: Sequence[Row]) -> None:
    """Share of facts not recalled, by decile of perplexity, with intervals."""
    for row in rows:
        words = (
            f"perplexity {row['low']:g} to {row['high']:g}: not recalled {row['not_recalled']:g} of "
            f"{row['facts']:g}, {row['percent']:.1f} % [{row['percent_low']:.1f}, {row['percent_high']:.1f}]"
        )
        look = {"color": colour("bad"), "gid": words}
        axes.plot([row["bin"]] * 2, [row["percent_low"], row["percent_high"]], linewidth=2.5, **look)
        axes.plot([row["bin"]], [row["percent"]], marker="o", markersize=7, **look)
    axes.set(xlabel="decile of perplexity", ylabel="facts not recalled, %", ylim=(0, 100))
    axes.set_xticks([row["bin"] for row in rows])
    axes.grid(visible=False, axis="x")
