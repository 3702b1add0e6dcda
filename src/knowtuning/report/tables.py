"""The tables of the report, as plain values that the page's template prints."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from knowtuning.evaluation.metrics import label, leading, metric
from knowtuning.report.figures import outcomes
from knowtuning.report.inputs import Inputs
from knowtuning.systems import BASELINE, EVERY, ON_REQUEST

OUTCOMES = ("win", "tie", "lose", "unjudged")


@dataclass(frozen=True)
class Cell:
    """A number with its interval. tone: better, worse or "" (no difference shown, or no direction)."""

    value: str
    interval: str = ""
    tone: str = ""
    star: bool = False


@dataclass(frozen=True)
class Line:
    """A row of a table: what it is about, its unit, and its cells."""

    label: str
    unit: str
    cells: Sequence[Cell]


@dataclass(frozen=True)
class Results:
    """The tables of one group of questions: every system, and every other system minus the baseline."""

    group: str
    questions: int
    systems: Sequence[str]
    others: Sequence[str]
    values: Sequence[Line]
    differences: Sequence[Line]


def results(inputs: Inputs) -> list[Results]:
    """The tables of all groups of questions; the first is of all questions."""
    names = list(dict.fromkeys(row["group"] for row in inputs.groups))
    return [_results(inputs, name) for name in names]


def _results(inputs: Inputs, group: str) -> Results:
    rows = {(r["system"], r["metric"]): r for r in inputs.groups if r["group"] == group}
    metrics = list(dict.fromkeys(name for _, name in rows))
    differences = inputs.metrics["differences"]
    others = [system for system in inputs.systems if system != BASELINE]
    return Results(
        group=group.replace("_", " · "),
        questions=int(inputs.metrics["systems"][BASELINE][group]["questions"]),
        systems=inputs.systems,
        others=others,
        values=[
            Line(label(m), metric(m).unit, [_value(rows.get((s, m))) for s in inputs.systems])
            for m in metrics
        ],
        differences=[
            Line(
                label(m),
                metric(m).unit,
                [difference(differences[s][group].get(m), metric(m).better) for s in others],
            )
            for m in metrics
        ],
    )


def _value(row: Mapping[str, Any] | None) -> Cell:
    if row is None:
        return Cell("–")
    return Cell(f"{row['value']:.2f}", f"{row['low']:.2f} to {row['high']:.2f}")


# What an answer can win by without knowing more: said beside every system.
_STYLE = {"words": "{:.1f} words", "truncated": "{:.1f} % cut off", "repeated": "{:.1f} % repeated"}


def style_of(inputs: Inputs) -> dict[str, str]:
    """How long, how often cut off and how repetitive the answers of each system are, in one line."""
    found = {system: tree["overall"] for system, tree in inputs.metrics["systems"].items()}
    return {
        system: ", ".join(said.format(means[name]) for name, said in _STYLE.items() if name in means)
        for system, means in found.items()
    }


def signed(value: float) -> str:
    """A difference with its sign, a true minus, and no sign on zero."""
    text = f"{value:+.2f}"
    return "0.00" if text in ("+0.00", "-0.00") else text.replace("-", "−")


def difference(found: Mapping[str, Any] | None, better: int) -> Cell:
    """A difference; it has a tone where its interval leaves out 0 and the metric has a direction."""
    if found is None:
        return Cell("–")
    value = found["mean"] if "mean" in found else found["value"]
    star = found["low"] > 0 or found["high"] < 0
    tone = "" if not star or not better else "better" if value * better > 0 else "worse"
    return Cell(signed(value), f"{signed(found['low'])} to {signed(found['high'])}", tone, star)


def strata(inputs: Inputs) -> tuple[list[str], list[Line]]:
    """The method minus the baseline in every group of questions: metric names, and a row a group."""
    differences = inputs.metrics["differences"]
    tree = differences.get(inputs.method, {})
    names = leading(list(tree.get("overall", {})))
    rows = []
    for group, found in tree.items():
        questions = inputs.metrics["systems"][BASELINE][group]["questions"]
        cells = [difference(found.get(name), metric(name).better) for name in names]
        rows.append(Line(group.replace("_", " · "), f"{questions} questions", cells))
    return [label(name) for name in names], rows


def verdict_on_method(inputs: Inputs) -> dict[str, list[tuple[str, str, str]]]:
    """Metrics on which the method is better or worse than the baseline, or not shown to differ.

    Each as (name, difference, interval). A metric that is 0 for both systems is left out.
    """
    found: dict[str, list[tuple[str, str, str]]] = {"better": [], "worse": [], "open": []}
    tree = inputs.metrics["differences"].get(inputs.method, {}).get("overall", {})
    for name, row in tree.items():
        better = metric(name).better
        if better and not row["mean"] == row["low"] == row["high"] == 0:
            cell = difference(row, better)
            found[cell.tone or "open"].append((label(name), cell.value, cell.interval))
    return found


@dataclass(frozen=True)
class Judged:
    """One pair of systems on one aspect. bar: an SVG of the outcomes; nets: the net rate, and the judge's at
    equal length too; counts: labelled numbers."""

    pair: str
    aspect: str
    bar: str
    nets: Sequence[tuple[str, Cell]]
    counts: Sequence[tuple[str, str]]


_NETS = {"net": "net", "at equal length": "net_length_controlled"}
_JUDGED = {
    "judged": ("judged", "{judged:.0f}"),
    "p_holm": ("p (Holm)", "{p_holm:.3g}"),
    "swap_consistency": ("orders agree", "{swap_consistency:.1f}"),
    "first_position_rate": ("first preferred", "{first_position_rate:.1f}"),
    "length_difference": ("words longer", "{length_difference:+.1f}"),
}


_ASKED = {"n": ("cases", "{n:.0f}")}
Labels = Mapping[str, tuple[str, str]]


def judged(inputs: Inputs) -> list[Judged]:
    """The pairwise verdicts, where the run has them."""
    return list(_judged(inputs.metrics.get("judge") or {}, _JUDGED, list(_NETS)))


def people(inputs: Inputs) -> tuple[list[Judged], list[tuple[str, str]]]:
    """The verdicts of annotators, where there are any, and how far they and the judge agree."""
    rows = list(_judged(inputs.human.get("pairs") or {}, _ASKED, ["net"]))
    return rows, [(key, _short(value)) for key, value in leaves(inputs.human) if key.split(".")[0] != "pairs"]


def _judged(tree: Mapping[str, Any], labels: Labels, nets: Sequence[str]) -> Iterator[Judged]:
    for pair, aspects in tree.items():
        for aspect, found in aspects.items() if isinstance(aspects, dict) else ():
            if not isinstance(found, dict) or "win" not in found:
                continue
            shares = [(name, float(found.get(name, 0))) for name in OUTCOMES]
            counts = [
                (said, form.format(**found).replace("-", "−") if key in found else "–")
                for key, (said, form) in labels.items()
            ]
            said = ", ".join(f"{name} {share:.1f} %" for name, share in shares)
            name = pair.replace("-", " – ")
            rates = [(said, _net(found, _NETS[said])) for said in nets]
            yield Judged(name, aspect, outcomes(shares, said), rates, counts)


def _net(found: Mapping[str, Any], name: str) -> Cell:
    """A net rate, where it is defined."""
    if name not in found:
        return Cell("–")
    return difference({"mean": found[name], "low": found[f"{name}_low"], "high": found[f"{name}_high"]}, 1)


_FACTS = {
    "raw": "All statements",
    "distinct": "Each fact of an answer once",
    "percent_correct": "correct, of correct and incorrect",
    "percent_supported": "correct, of all with a verdict",
    "recall": "reference facts stated",
    "recall_unscored": "answers without recall",
    "answers_unscored": "answers without verdicts",
}


def fact_lines(inputs: Inputs) -> list[Line]:
    """Facts of all answers together, by system, where the run counts them: totals, and rates in %."""
    trees = {s: t for s, t in (inputs.metrics.get("facts") or {}).items() if s in inputs.systems}
    flat = {system: dict(leaves(tree)) for system, tree in trees.items()}
    names = list(dict.fromkeys(name for found in flat.values() for name in found))
    lines = []
    for name in names:
        if not name.endswith(("_low", "_high", "_n")):
            scope, _, last = name.rpartition(".")
            label = ": ".join(_FACTS.get(word, word.replace("_", " ")) for word in (scope, last) if word)
            lines.append(Line(label, "", [_fact_cell(flat.get(s, {}), name) for s in inputs.systems]))
    return lines


def _fact_cell(found: Mapping[str, Any], name: str) -> Cell:
    if name not in found:
        return Cell("–")
    low, high = found.get(f"{name}_low"), found.get(f"{name}_high")
    if low is None or high is None:
        return Cell(_short(found[name]))
    return Cell(f"{found[name]:.2f}", f"{low:.2f} to {high:.2f}")


def audit_lines(inputs: Inputs) -> list[Line]:
    """The shortcut audit: one row an aspect."""
    found = inputs.metrics.get("audit") or {}
    rows = []
    for aspect, row in found.items():
        if row["status"] != "computed":
            rows.append(Line(aspect, str(row["status"]), []))
            continue
        cells = [
            Cell(f"{row[k]:.1f}", f"{row[k + '_low']:.1f} to {row[k + '_high']:.1f}")
            for k in ("accuracy", "style_accuracy", "length_accuracy")
        ]
        marks = row["marks"]
        mark = max(marks, key=lambda name: marks[name])
        cells.append(Cell(mark, f"{marks[mark]:.1f}"))
        rows.append(Line(aspect, f"{row['pairs']} pairs", cells))
    return rows


BUDGET = ("rows", "tokens", "steps")


def budgets(inputs: Inputs) -> list[Line]:
    """What each system was trained on: rows (examples or pairs), tokens of all steps, and steps (BUDGET)."""
    found = []
    for name, system in EVERY.items():
        values = inputs.metrics.get(system.section)
        if values:
            named = (values["train_rows"], values.get("trained_tokens"), values["steps"])
            cells = [Cell("–" if value is None else f"{value:,}") for value in named]
            unit = "pairs" if system.objective == "preference" else "examples"
            found.append(Line(name, unit, cells))
    return found


def counts(inputs: Inputs) -> list[tuple[str, str, list[tuple[str, str]]]]:
    """What came out of each stage before the evaluation: (stage, note, [(name, value)])."""
    about = {
        "data": "questions by split",
        "base": "the base model",
        "extract": "atomic facts of the training answers",
        "score": "their perplexity",
        "rewrite": "knowledge augmentation",
        "perturb": "preference pairs",
        "triples": "facts as triples, for kg",
        **{f"pairs_{name}": f"preference pairs of {name}" for name in ON_REQUEST},
        **{system.section: system.label for system in EVERY.values() if system.section},
        "probe": "what the systems hold more probable",
        "verify": "verdicts on facts and pairs",
    }
    found = []
    for stage, note in about.items():
        if stage in inputs.metrics:
            values = leaves(_numbered(inputs.metrics[stage]))
            rows = [(key, _short(value)) for key, value in values if value is False or value not in (0, "")]
            found.append(("prepare" if stage == "data" else stage, note, rows))
    return found


def _numbered(value: Any) -> Any:
    """Lists as mappings from 1, so that each of their items gets a row."""
    if isinstance(value, list):
        value = {str(number): item for number, item in enumerate(value, 1)}
    return {key: _numbered(item) for key, item in value.items()} if isinstance(value, Mapping) else value


def leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted names and values of nested mappings."""
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _short(value: Any) -> str:
    """A value in few characters: hashes are cut, numbers have thousands separators."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    text = str(value)
    return f"{text[:12]}…" if len(text) == 64 and text.isalnum() else text


def parameters(inputs: Inputs) -> list[tuple[str, str]]:
    """The parameters of the run, dotted."""
    return [(key, "null" if value is None else str(value)) for key, value in leaves(inputs.params)]


def ablations(inputs: Inputs) -> tuple[list[str], list[Line]]:
    """What each part of the method is worth: the full method minus the ablation, over several runs."""
    rows = [row for row in inputs.ablations if row["group"] == "overall"]
    names = list(dict.fromkeys(row["metric"] for row in rows))
    lines = []
    for ablation in dict.fromkeys(row["ablation"] for row in rows):
        mine = {row["metric"]: row for row in rows if row["ablation"] == ablation}
        lines.append(Line(ablation, "", [difference(mine.get(n), metric(n).better) for n in names]))
    return [label(name) for name in names], lines
