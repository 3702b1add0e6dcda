"""Puts the page together: template, style, script and data in one file that asks for nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from knowtuning.core.storage import atomic_write
from knowtuning.evaluation.metrics import label, leading, metric
from knowtuning.report import tables
from knowtuning.report.answers import browser_data
from knowtuning.report.embed import policy, script_json
from knowtuning.report.figures import (
    Estimated,
    Figure,
    Series,
    calibration,
    histogram,
    intervals,
    lines,
)
from knowtuning.report.inputs import TRAINED, Inputs, read
from knowtuning.report.wording import colour
from knowtuning.systems import BASELINE, EVERY, trained

HERE = Path(__file__).parent
Curves = Mapping[str, Sequence[tuple[float, float]]]


def build(
    out: Path,
    *,
    data: Path,
    metrics: Path,
    plots: Path,
    split: str,
    params: Mapping[str, Any],
    ablations: Path | None = None,
    human: Path | None = None,
) -> None:
    """Write the report of a finished evaluation to `out`, an HTML file.

    data, metrics, plots: the folders of the run. split: whose questions were answered. params: the
    parameters to show, nested. ablations: CSV of a study with the columns of `inputs.ABLATION`;
    human: JSON of a human evaluation; both shown where given. The same inputs give the same bytes.
    """
    inputs = read(
        data=data,
        metrics=metrics,
        plots=plots,
        split=split,
        params=params,
        ablations=ablations,
        human=human,
    )
    with atomic_write(out) as stream:
        stream.write(render(inputs))


def render(inputs: Inputs) -> str:
    """The page as text."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style, script = _part("style.css"), _part("browser.js")
    context = {
        "policy": policy(script=script, style=style),
        "style": style,
        "script": script,
        "data": script_json(browser_data(inputs)),
        "inputs": inputs,
        "colours": {name: colour(name) for name in EVERY},
        "system_names": {name: system.label for name, system in EVERY.items()},
        "style_of": tables.style_of(inputs),
        "baseline": BASELINE,
        "results": tables.results(inputs),
        "method": tables.verdict_on_method(inputs),
        "strata": tables.strata(inputs),
        "facts": tables.fact_lines(inputs),
        "judged": tables.judged(inputs),
        "people": tables.people(inputs),
        "ablations": tables.ablations(inputs),
        "audit": tables.audit_lines(inputs),
        "budgets": tables.budgets(inputs),
        "budget": tables.BUDGET,
        "counts": tables.counts(inputs),
        "parameters": tables.parameters(inputs),
        "headline": headline_figures(inputs),
        "training": training_figures(inputs),
        "perplexity": perplexity_figures(inputs),
    }
    return environment.get_template("page.html").render(context) + "\n"


def _part(name: str) -> str:
    """A file of this package that the page holds as it is; the policy names its hash."""
    return (HERE / name).read_text(encoding="utf-8")


def headline_figures(inputs: Inputs) -> list[Figure]:
    """The main metrics of all systems with their intervals."""
    rows = {(r["metric"], r["system"]): r for r in inputs.groups if r["group"] == "overall"}
    # A chart of zeros shows nothing.
    names = leading(list(dict.fromkeys(name for (name, _), row in rows.items() if row["high"] or row["low"])))
    return [
        intervals(
            ", ".join(filter(None, [label(name), metric(name).unit])),
            [
                Estimated(system, colour(system), row["value"], row["low"], row["high"])
                for system in inputs.systems
                if (row := rows.get((name, system)))
            ],
        )
        for name in names
    ]


def training_figures(inputs: Inputs) -> list[Figure]:
    """Loss, validation loss, and the rewards of preference training, where they were logged."""
    figures = []
    for name, caption in (("loss", "Training loss"), ("eval_loss", "Validation loss")):
        series = [
            Series(system, colour(system), inputs.curves[stage][name])
            for stage, system in TRAINED.items()
            if name in inputs.curves[stage]
        ]
        note = (
            f"{', '.join(_preference(inputs))}: preference loss plus the weighted NLL of the chosen answers; "
            "not comparable with the others."
        )
        if series:
            figures.append(lines(caption, series, y_label="loss, nats", note=note, named=True))
    for system in _preference(inputs):
        figures += _preference_figures(system, inputs.curves[trained()[system].section])
    return figures


def _preference(inputs: Inputs) -> list[str]:
    """The systems trained on preference pairs."""
    return [name for name in inputs.systems if EVERY[name].objective == "preference"]


def _preference_figures(system: str, curves: Curves) -> list[Figure]:
    """Margins, accuracies and log-probabilities of preference training, where they were logged."""
    figures = []
    for caption, said, names in (
        ("reward margin", "chosen minus rejected", ("rewards/margins", "eval_rewards/margins")),
        ("preference accuracy", "share, chosen ahead", ("rewards/accuracies", "eval_rewards/accuracies")),
    ):
        lines_of = zip(("training", "validation"), names, (False, True), strict=True)
        series = [
            Series(part, colour(system), curves[name], dashed)
            for part, name, dashed in lines_of
            if name in curves
        ]
        if series:
            figures.append(lines(f"{system}: {caption}", series, y_label=said))
    return figures


def perplexity_figures(inputs: Inputs) -> list[Figure]:
    """The histogram, and the calibration where facts have a ground truth."""
    figures = [histogram(inputs.ppl)] if inputs.ppl else []
    return [*figures, calibration(inputs.calibration)] if inputs.calibration else figures
