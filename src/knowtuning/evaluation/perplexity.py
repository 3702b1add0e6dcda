"""Does perplexity find the facts that the base model does not know (the assumption behind KA)?"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from knowtuning.core.records import ScoredFacts
from knowtuning.evaluation.stats import Floats, Resampling, divide, numbered, resample_counts

BINS = 30
DECILES = 10
CALIBRATION = ("bin", "low", "high", "facts", "not_recalled", "percent", "percent_low", "percent_high")
_STATES = {True: "recalled", False: "not recalled", None: "unknown"}


def auroc_metrics(
    records: Sequence[ScoredFacts], how: Resampling, units: Mapping[str, str] | None = None
) -> dict[str, float | str]:
    """AUROC of perplexity as a detector of facts the base model cannot recall, with its interval.

    auroc: probability that such a fact has a higher perplexity than a recalled one, ties half; 0.5 is
    chance. low, high: bootstrap over questions, because facts of one question are not independent, or over
    units (id of a question -> stats.unit_of), because a fact comes again in another question of its subject.
    Where it cannot be computed those three are absent and `status` says why; it is `computed` else.
    """
    facts = [fact for record in records for fact in record.facts]
    known = [fact for fact in facts if fact.recalled is not None]
    hard = sum(not fact.recalled for fact in known)
    metrics: dict[str, float | str] = {
        "facts": len(facts),
        "recalled": len(known) - hard,
        "not_recalled": hard,
        "unknown": len(facts) - len(known),
    }
    if not known:
        return {"status": "not computed: no fact has a ground truth", **metrics}
    if hard in (0, len(known)):
        which = "every" if hard == 0 else "no"
        return {"status": f"not computed: the base model recalls {which} fact", **metrics}
    from sklearn.metrics import roc_auc_score

    owners = [(units or {}).get(r.id, r.id) for r in records for f in r.facts if f.recalled is not None]
    ppl, missed = np.array([fact.ppl for fact in known]), np.array([not fact.recalled for fact in known])
    low, high = how.bounds(auroc_draws(ppl, missed, numbered(owners), how))
    bounds = {"auroc": roc_auc_score(missed, ppl), "low": low, "high": high}
    return {"status": "computed", **{name: round(float(v), 4) for name, v in bounds.items()}, **metrics}


def auroc_draws(ppl: Floats, hard: NDArray[np.bool_], clusters: NDArray[np.int64], how: Resampling) -> Floats:
    """AUROC on each resample of the clusters, shape (resamples,); NaN where one class is missing.

    ppl, hard, clusters: one entry per fact; clusters number what is resampled from 0. Facts are sorted
    once, and every resample is a weighting of them.
    """
    order = np.argsort(ppl, kind="stable")
    starts = np.flatnonzero(np.diff(ppl[order], prepend=-np.inf))
    owner, positive = clusters[order], hard[order]
    questions = int(clusters.max()) + 1
    blocks = resample_counts(how.generator("auroc"), questions, how.resamples, width=len(ppl))
    return np.concatenate([_weighted_auroc(counts[:, owner], positive, starts) for counts in blocks])


def _weighted_auroc(weights: Floats, positive: NDArray[np.bool_], starts: NDArray[np.int64]) -> Floats:
    """AUROC of each row of `weights` (rows, facts in ascending order); `starts` opens each run of ties."""
    above = np.add.reduceat(weights * positive, starts, axis=1)
    below = np.add.reduceat(weights * ~positive, starts, axis=1)
    wins = (above * (np.cumsum(below, axis=1) - below / 2)).sum(axis=1)
    return divide(wins, above.sum(axis=1) * below.sum(axis=1))


def histogram(records: Sequence[ScoredFacts], bins: int = BINS) -> list[dict[str, Any]]:
    """Rows for a histogram of perplexity on a logarithmic axis, one per bin and state of knowledge.

    bin: geometric middle, a perplexity; low, high: its edges; group: recalled, not recalled or unknown;
    count: facts. States that no fact has make no rows.
    """
    facts = [fact for record in records for fact in record.facts]
    if not facts:
        return []
    logs = np.array([math.log(fact.ppl) for fact in facts])
    first = logs.min()
    width = (logs.max() - first) / bins or 1.0
    numbers = np.minimum(((logs - first) / width).astype(int), bins - 1)
    # Edges and, between them, the middles of the bins.
    marks = [round(math.exp(first + step * width / 2), 3) for step in range(2 * bins + 1)]
    rows = []
    for state, name in _STATES.items():
        mine = numbers[[fact.recalled is state for fact in facts]]
        for number, count in enumerate(np.bincount(mine, minlength=bins).tolist() if len(mine) else ()):
            low, middle, high = marks[2 * number : 2 * number + 3]
            rows.append({"bin": middle, "low": low, "high": high, "group": name, "count": count})
    return rows


def calibration(
    records: Sequence[ScoredFacts], *, confidence: float, bins: int = DECILES
) -> list[dict[str, float | int]]:
    """Share of facts that the base model cannot recall, by decile of perplexity; rows of CALIBRATION.

    low, high: least and greatest perplexity of the bin; percent: facts not recalled, 0..100, with its
    Wilson interval (which takes facts as independent; those of one question are not quite). Facts of
    equal perplexity share a bin, so there may be fewer than `bins`. Without ground truth: no rows.
    """
    from scipy.stats import binomtest

    known = [(f.ppl, f.recalled) for record in records for f in record.facts if f.recalled is not None]
    if not known:
        return []
    ppl = np.array([value for value, _ in known])
    hard = np.array([not recalled for _, recalled in known])
    ranked = np.sort(ppl)
    edges = ranked[[math.ceil(len(ranked) * (k + 1) / bins) - 1 for k in range(bins)]]
    bin_of = np.searchsorted(edges, ppl, side="left")
    rows: list[dict[str, float | int]] = []
    for number, each in enumerate(np.unique(bin_of), start=1):
        mine, missed = ppl[bin_of == each], int(hard[bin_of == each].sum())
        interval = binomtest(missed, len(mine)).proportion_ci(confidence, method="wilson")
        ends = (100 * float(interval.low), 100 * float(interval.high))
        values = (float(mine.min()), float(mine.max()), 100 * missed / len(mine), *ends)
        least, most, percent, below, above = (round(value, 3) for value in values)
        row = (number, least, most, len(mine), missed, percent, below, above)
        rows.append(dict(zip(CALIBRATION, row, strict=True)))
    return rows
