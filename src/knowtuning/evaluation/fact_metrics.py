"""Fine-grained facts (paper, 4.2): how many the answers state, how many hold, what they leave out.

The same counts whoever verified the answers: the world's exact verifier, or a teacher.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from knowtuning.core.records import Scores, Sentence
from knowtuning.core.tables import grouped
from knowtuning.core.text import normal_form
from knowtuning.evaluation.stats import Ratios, Resampling, estimates

KINDS = ("correct", "incorrect", "unverifiable", "unscored")
_COUNTED_AS = {"duplicate": "correct", "unparsed": "unverifiable"}


def tally(sentences: Sequence[Sentence], *, distinct: bool) -> dict[str, int]:
    """Number of facts of each of KINDS. distinct: a fact said again, by its normal form, counts once.

    Duplicates, which the exact verifier finds in other words too, count as correct facts said again.
    """
    counts = dict.fromkeys(KINDS, 0)
    seen: set[str] = set()
    for sentence in sentences:
        form = normal_form(sentence.text)
        again = sentence.verdict == "duplicate" or form in seen
        seen.add(form)
        if not (distinct and again):
            counts[_COUNTED_AS.get(sentence.verdict, sentence.verdict)] += 1
    return counts


def fact_metrics(rows: Sequence[Scores], how: Resampling) -> dict[str, dict[str, Any]]:
    """Facts of all answers together, by system: counts that add up to `total`, and rates in 0..100.

    `raw` counts every statement, `distinct` each fact of an answer once. percent_correct: correct of
    correct and incorrect; percent_supported: correct of all with a verdict (FActScore's precision). recall:
    mean share of the reference's facts that an answer states (on the closed world: of the facts asked
    for). Rates have intervals, by bootstrap over questions. answers_unscored, recall_unscored: answers
    whose facts, or whose recall, have no verdict; facts that could not even be extracted are in no count.
    """
    by_system = grouped(rows, lambda row: row.system)
    return {system: _of_system(mine, how) for system, mine in by_system.items()}


def _of_system(rows: Sequence[Scores], how: Resampling) -> dict[str, Any]:
    """The counts and rates of one system; all of them share the resamples of one purpose."""
    recall = [row.scores.get("recall", row.scores.get("completeness")) for row in rows]
    tables, parts = {}, []
    for name in ("raw", "distinct"):
        tallies = [tally(row.sentences, distinct=name == "distinct") for row in rows]
        tables[name] = table = np.array([list(each.values()) for each in tallies], dtype=np.float64)
        correct, judged, verdicts = table[:, 0], table[:, :2].sum(axis=1), table[:, :3].sum(axis=1)
        numerators = np.column_stack([100 * correct, 100 * correct])
        parts.append(Ratios.of_sums(numerators, np.column_stack([judged, verdicts])))
    ratios = Ratios.joined([*parts, Ratios.of_means(np.array(recall, dtype=np.float64))])
    rates = iter(estimates(ratios, how, "facts"))
    leaf: dict[str, Any] = {
        "answers": len(rows),
        "answers_unscored": sum(row.scores.get("unscored") == 100.0 for row in rows),
    }
    for name, table in tables.items():
        counts = {kind: int(n) for kind, n in zip(KINDS, table.sum(axis=0), strict=True)}
        leaf[name] = {**counts, "total": sum(counts.values())}
        leaf[name] |= next(rates).flat("percent_correct") | next(rates).flat("percent_supported")
    return {**leaf, **next(rates).flat("recall"), "recall_unscored": recall.count(None)}
