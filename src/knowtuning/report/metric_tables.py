"""The tables of the report, as plain values that the page's template prints."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from knowtuning.evaluation.metrics import label, leading, metric
from knowtuning.evaluation.pairwise import CONTROLLED
from knowtuning.evaluation.stats import Estimate, Resampling, unit_of
from knowtuning.evaluation.summary import Summary, summarise_groups
from knowtuning.evaluation.verdict import verdict
from knowtuning.report.inputs import Inputs
from knowtuning.systems import BASELINE, EVERY, METHOD, ON_REQUEST

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
class GroupTables:
    """The tables of one group of questions: every system, and every other system minus the baseline."""

    group: str
    questions: int
    values: Sequence[Line]
    differences: Sequence[Line]


def results(inputs: Inputs) -> list[GroupTables]:
    """The tables of all groups of questions; the first is of all questions."""
    return [_results(inputs, name) for name in dict.fromkeys(row["group"] for row in inputs.groups)]


def _results(inputs: Inputs, group: str) -> GroupTables:
    rows = {(r["system"], r["metric"]): r for r in inputs.groups if r["group"] == group}
    metrics = list(dict.fromkeys(name for _, name in rows))
    trees = [tree[group] for tree in inputs.metrics["differences"].values()]

    def line(name: str, cells: Sequence[Cell]) -> Line:
        return Line(label(name), metric(name).unit, cells)

    return GroupTables(
        group.replace("_", " · "),
        int(inputs.metrics["systems"][BASELINE][group]["questions"]),
        [line(name, [_value(rows.get((system, name))) for system in inputs.systems]) for name in metrics],
        [line(name, [difference(tree.get(name), metric(name).better) for tree in trees]) for name in metrics],
    )


def _value(row: Mapping[str, Any] | None) -> Cell:
    if row is None:
        return Cell("–")
    return Cell(f"{row['value']:.2f}", f"{row['low']:.2f} to {row['high']:.2f}")


# What an answer can win by without knowing more: shown beside every system.
_STYLE = {"words": "{:.1f} words", "truncated": "{:.1f} % cut off", "repeated": "{:.1f} % repeated"}


def style_of(inputs: Inputs) -> dict[str, str]:
    """How long, how often cut off and how repetitive the answers of each system are, in one line."""
    means = {system: tree["overall"] for system, tree in inputs.metrics["systems"].items()}
    return {
        system: ", ".join(form.format(of[name]) for name, form in _STYLE.items() if name in of)
        for system, of in means.items()
    }


def signed(value: float) -> str:
    """A difference with its sign, a true minus, and no sign on zero."""
    text = f"{value:+.2f}"
    return "0.00" if text in ("+0.00", "-0.00") else text.replace("-", "−")


def difference(row: Mapping[str, Any] | None, better: int) -> Cell:
    """A difference; it has a tone where its interval leaves out 0 and the metric has a direction."""
    if row is None:
        return Cell("–")
    value = row["mean"] if "mean" in row else row["value"]
    star = row["low"] > 0 or row["high"] < 0
    tone = "" if not star or not better else "better" if value * better > 0 else "worse"
    return Cell(signed(value), f"{signed(row['low'])} to {signed(row['high'])}", tone, star)


@dataclass(frozen=True)
class Against:
    """The method beside another system.

    line: in what it differs, as a sentence; warnings: what to know before its adapter is used. tones: metrics
    on which it is better, worse, or not shown to differ ("open"), each as (name, difference, interval).
    strata: a row a group of questions, its cells the differences in the metrics `names`.
    """

    system: str
    line: str
    warnings: Sequence[str]
    tones: Mapping[str, Sequence[tuple[str, str, str]]]
    names: Sequence[str]
    strata: Sequence[Line]


def against(inputs: Inputs) -> list[Against]:
    """The method beside every other system, the baseline first: from the scores of the same questions.

    The resamples are those of `evaluate`: beside the baseline the numbers are those of its metrics.
    """
    settings = inputs.params["evaluate"]
    units = list(map(unit_of, inputs.examples))
    how = Resampling(inputs.params["seed"], settings["resamples"], settings["confidence"], units)
    # In the order of the questions, as evaluate has them: a resample draws them by position.
    rows = [mine[example.id] for mine in inputs.scores.values() for example in inputs.examples]
    summaries = summarise_groups(rows, how, baseline=METHOD)
    others = sorted((name for name in inputs.systems if name != METHOD), key=lambda name: name != BASELINE)
    return [_against(other, summaries, inputs) for other in others]


def _against(other: str, summaries: Sequence[Summary], inputs: Inputs) -> Against:
    groups = [
        (each.group, each.questions, {name: -e for name, e in each.differences[other].items() if e.n})
        for each in summaries
    ]
    overall = groups[0][2]
    judged = (inputs.metrics.get("judge") or {}).get(f"{METHOD}-{other}", {})
    nets = {
        aspect: Estimate(row[CONTROLLED], row[CONTROLLED + "_low"], row[CONTROLLED + "_high"], row["judged"])
        for aspect, row in judged.items()
        if CONTROLLED in row
    }
    summed_up = verdict(overall, nets, against=other)
    tones: dict[str, list[tuple[str, str, str]]] = {"better": [], "worse": [], "open": []}
    for name, each in overall.items():
        better = metric(name).better
        # A metric that is 0 for both says nothing.
        if better and not each.value == each.low == each.high == 0:
            cell = difference(vars(each), better)
            tones[cell.tone or "open"].append((label(name), cell.value, cell.interval))
    names = leading(list(overall))
    strata = []
    for group, questions, row in groups if len(groups) > 1 else ():
        cells = [difference(vars(row[n]) if n in row else None, metric(n).better) for n in names]
        strata.append(Line(group.replace("_", " · "), f"{questions} questions", cells))
    return Against(other, summed_up.line, summed_up.warnings, tones, [label(n) for n in names], strata)


@dataclass(frozen=True)
class Judged:
    """One pair of systems on one aspect. shares: percent by outcome; nets: the net rate, and the judge's at
    equal length too; counts: labelled numbers."""

    pair: str
    aspect: str
    shares: Mapping[str, float]
    nets: Sequence[tuple[str, Cell]]
    counts: Sequence[tuple[str, str]]


_NETS = {"net": "net", "at equal length": CONTROLLED}
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
        for aspect, row in aspects.items() if isinstance(aspects, dict) else ():
            if isinstance(row, dict) and "win" in row:
                counts = [
                    (name, form.format(**row).replace("-", "−") if key in row else "–")
                    for key, (name, form) in labels.items()
                ]
                shares = {name: float(row.get(name, 0)) for name in OUTCOMES}
                rates = [(name, difference(_bounded(row, _NETS[name]), 1)) for name in nets]
                yield Judged(pair.replace("-", " – "), aspect, shares, rates, counts)


def _bounded(row: Mapping[str, Any], name: str) -> dict[str, Any] | None:
    """A value with its interval; None where it has none."""
    names = {"value": name, "low": f"{name}_low", "high": f"{name}_high"}
    return {key: row[each] for key, each in names.items()} if set(names.values()) <= row.keys() else None


_FACTS = {
    "answers": "Answers",
    "raw": "All statements",
    "distinct": "Each fact of an answer once",
    "percent_correct": "correct, of correct and incorrect",
    "percent_supported": "correct, of all with a verdict",
    "unverifiable": "unverifiable or unreadable",
    "recall": "Reference facts stated",
    "recall_unscored": "Answers without recall",
    "answers_unscored": "Answers without verdicts",
}


def fact_lines(inputs: Inputs) -> list[Line]:
    """Facts of all answers together, by system, where the run counts them: totals, and rates in %."""
    trees = {s: t for s, t in (inputs.metrics.get("facts") or {}).items() if s in inputs.systems}
    flat = {system: dict(leaves(tree)) for system, tree in trees.items()}
    names = list(dict.fromkeys(name for leaf in flat.values() for name in leaf))
    lines = []
    for name in names:
        if not name.endswith(("_low", "_high", "_n")):
            scope, _, last = name.rpartition(".")
            label = ": ".join(_FACTS.get(word, word.replace("_", " ")) for word in (scope, last) if word)
            cells = []
            for leaf in (flat.get(system, {}) for system in inputs.systems):
                row = _bounded(leaf, name)
                cells.append(Cell(_short(leaf[name])) if name in leaf and not row else _value(row))
            lines.append(Line(label, "", cells))
    return lines


def audit_lines(inputs: Inputs) -> list[Line]:
    """The shortcut audit: one row an aspect."""
    audit = inputs.metrics.get("audit") or {}
    rows = []
    for aspect, row in audit.items():
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
    lines = []
    for name, system in EVERY.items():
        values = inputs.metrics.get(system.section)
        if values:
            named = (values["train_rows"], values.get("trained_tokens"), values["steps"])
            cells = [Cell("–" if value is None else f"{value:,}") for value in named]
            unit = "pairs" if system.objective == "preference" else "examples"
            lines.append(Line(name, unit, cells))
    return lines


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
    stages = []
    for stage, note in about.items():
        if stage in inputs.metrics:
            values = leaves(_numbered(inputs.metrics[stage]))
            rows = [(key, _short(value)) for key, value in values if value is False or value not in (0, "")]
            stages.append(("prepare" if stage == "data" else stage, note, rows))
    return stages


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
