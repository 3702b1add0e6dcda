"""The numbers of a human evaluation: rates of every pair, agreement among people and with the judge."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from knowtuning.core.tables import grouped
from knowtuning.evaluation.stats import Ratios, Resampling, estimates
from knowtuning.human.verdicts import Case, Outcome, Verdicts
from knowtuning.knowledge.aspects import ASPECTS

CATEGORIES = ("win", "tie", "lose")
_FLIPPED: dict[str, Outcome] = {"win": "lose", "lose": "win", "tie": "tie"}


def summarise(
    verdicts: Verdicts, judgements: Sequence[Mapping[str, Any]], how: Resampling, *, cases: int
) -> dict[str, Any]:
    """Everything as nested scalars, rates and agreements in 0..100, kappas in -1..1.

    cases: those that were asked or equal; what is missing is `unanswered`. judgements: records of the
    LLM's or the exact judge's verdicts on the same questions, compared with the annotators' majority; none
    where there was no judge.
    """
    consensus = verdicts.consensus()
    return {
        "annotators": len(verdicts.annotators),
        "cases": cases,
        "equal": len(verdicts.equal),
        "answered": len(verdicts.outcomes),
        "unanswered": cases - len(consensus),
        "judged_in_one_order_only": verdicts.half,
        "pairs": pair_rates(consensus, how),
        "agreement": people_agree(verdicts),
        "judge": judge_agrees(verdicts, judgements),
        "annotator": annotator_habits(verdicts),
    }


def pair_rates(consensus: Mapping[Case, Outcome], how: Resampling) -> dict[str, Any]:
    """pair -> aspect -> win, tie, lose and net (win - lose), with bounds from a bootstrap over questions."""
    groups = grouped(sorted(consensus), lambda case: (f"{case.a}-{case.b}", case.aspect))
    tree: dict[str, Any] = {}
    for (pair, aspect), cases in groups.items():
        table = 100.0 * category_counts([[consensus[case]] for case in cases])
        table = np.column_stack([table, table[:, 0] - table[:, 2]])
        leaf: dict[str, Any] = {"n": len(cases)}
        rates = estimates(Ratios.of_means(table), how, f"human/{pair}/{aspect}")
        for name, rate in zip((*CATEGORIES, "net"), rates, strict=True):
            leaf |= rate.flat(name)
        tree.setdefault(pair, {})[aspect] = leaf
    return tree


def people_agree(verdicts: Verdicts) -> dict[str, Any]:
    """Aspect -> Cohen's kappa of two annotators, Fleiss' of more, and how often two of them agree, in %.

    Over the cases with as many ratings as most have, two at least; `left_out` counts the others (each
    kappa needs one number of raters). Nothing where there is one annotator; a kappa that chance leaves
    undefined is absent. Equal answers, which nobody was asked about, are no agreement.
    """
    people = verdicts.annotators
    tree: dict[str, Any] = {}
    for aspect in ASPECTS if len(people) > 1 else ():
        rated = [votes for case, votes in sorted(verdicts.outcomes.items()) if case.aspect == aspect]
        sizes = Counter(len(votes) for votes in rated if len(votes) > 1)
        if not sizes:
            continue
        raters = max(sizes, key=lambda size: (sizes[size], size))
        units = [[votes[name] for name in sorted(votes)] for votes in rated if len(votes) == raters]
        counts = category_counts(units)
        agree = (counts * (counts - 1)).sum(axis=1) / (raters * (raters - 1))
        leaf: dict[str, Any] = {"cases": len(units), "left_out": len(rated) - len(units), "raters": raters}
        leaf["agree"] = round(100 * float(agree.mean()), 4)
        if len(people) == 2:
            name, kappa = "cohen_kappa", cohen_kappa(*zip(*units, strict=True))
        else:
            name, kappa = "fleiss_kappa", fleiss_kappa(counts)
        tree[aspect] = leaf | ({} if kappa is None else {name: round(kappa, 4)})
    return tree


def judge_agrees(verdicts: Verdicts, judgements: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Aspect -> agreement of the judge with the annotators' majority, raw and as Cohen's kappa.

    Over the cases that people were asked and the judge has a verdict on; `unjudged` counts the others.
    """
    of_judge = {}
    for row in judgements:
        question, a, b, aspect, outcome = (row[k] for k in ("question", "a", "b", "aspect", "outcome"))
        of_judge[Case(question, a, b, aspect)] = outcome
        of_judge[Case(question, b, a, aspect)] = _FLIPPED.get(outcome, outcome)
    people = {case: outcome for case, outcome in verdicts.consensus().items() if case in verdicts.outcomes}
    tree: dict[str, Any] = {}
    for aspect in ASPECTS if judgements else ():
        mine = sorted(case for case in people if case.aspect == aspect)
        judged = [case for case in mine if of_judge.get(case) in _FLIPPED]
        if not mine:
            continue
        leaf: dict[str, Any] = {"cases": len(judged), "unjudged": len(mine) - len(judged)}
        if judged:
            ours, theirs = [people[case] for case in judged], [of_judge[case] for case in judged]
            leaf["agree"] = round(100 * float(np.mean(np.array(ours) == np.array(theirs))), 4)
            kappa = cohen_kappa(ours, theirs)
            leaf |= {} if kappa is None else {"cohen_kappa": round(kappa, 4)}
        tree[aspect] = leaf
    return tree


def annotator_habits(verdicts: Verdicts) -> dict[str, Any]:
    """Annotator -> votes for an answer, the share of them for the one shown first (50: no habit), and the
    share of pairs judged alike in both orders."""
    tree: dict[str, Any] = {}
    for name in verdicts.annotators:
        chosen, first = verdicts.firsts[name]
        both, alike = verdicts.orders.get(name, (0, 0))
        leaf: dict[str, Any] = {"preferences": chosen, "both_orders": both}
        leaf |= {"first_position_rate": round(100 * first / chosen, 4)} if chosen else {}
        leaf |= {"swap_consistency": round(100 * alike / both, 4)} if both else {}
        tree[name] = leaf
    return tree


def cohen_kappa(first: Sequence[str], second: Sequence[str]) -> float | None:
    """Cohen's kappa of two raters over the same units (Cohen 1960), by scikit-learn.

    1 is perfect agreement, 0 what chance gives. None where there is no unit, or both raters use one
    category throughout, so that chance alone agrees always.
    """
    from sklearn.metrics import cohen_kappa_score

    return float(cohen_kappa_score(first, second)) if len({*first, *second}) > 1 else None


def fleiss_kappa(counts: NDArray[np.int64]) -> float | None:
    """Fleiss' kappa of several raters (Fleiss 1971).

    counts: (units, categories), how many raters put the unit there; every row sums to the same number of
    raters, at least 2, which may be other people from unit to unit. None where one category alone is used.
    """
    each = int(counts[0].sum())
    shares = counts.sum(axis=0) / counts.sum()
    by_unit = ((counts * counts).sum(axis=1) - each) / (each * (each - 1))
    chance = float((shares * shares).sum())
    return None if chance == 1 else float((by_unit.mean() - chance) / (1 - chance))


def category_counts(ratings: Sequence[Sequence[str]]) -> NDArray[np.int64]:
    """Ratings of every unit as counts, (units, CATEGORIES)."""
    table = [[list(unit).count(name) for name in CATEGORIES] for unit in ratings]
    return np.array(table, dtype=np.int64)
