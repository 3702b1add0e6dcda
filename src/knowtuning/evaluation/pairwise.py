"""Win, tie and loss rates of pairs of systems, and how far the judge behind them can be trusted.

Every rate has a bootstrap interval over questions; the aspects of a pair share the resamples, and the p
values of their net rates are adjusted for being several.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from knowtuning.core.records import Judgement, read_jsonl
from knowtuning.core.tables import grouped
from knowtuning.evaluation.stats import Estimate, Floats, Ratios, Resampling, bootstrap_p, holm, summarise
from knowtuning.systems import BASELINE, EVERY, METHOD

RATES = ("win", "tie", "lose", "unjudged", "net", "swap_consistency", "first_position_rate")
CONTROLLED = "net_length_controlled"


@dataclass(frozen=True)
class Contest:
    """A pair of systems in one aspect. Rates and differences in 0..100, or points of it.

    win, tie, lose, unjudged: of all questions. net: win - lose, of the judged. swap_consistency: of the
    questions judged in both orders, those where the orders agree. first_position_rate: of the verdicts
    that prefer an answer, those for the one shown first; 50 is unbiased. length_difference: words of a's
    answer minus b's, mean over all questions. net_length_controlled: the net rate at equal length.
    equal: questions whose answers are equal, ties that no judge was asked about. p: two-sided, that net
    is 0; p_holm: the same, adjusted for the aspects of the pair.
    """

    a: str
    b: str
    aspect: str
    questions: int
    judged: int
    equal: int
    estimates: dict[str, Estimate]
    p: float
    p_holm: float


def read_judgements(path: Path, questions: Sequence[str]) -> list[Judgement]:
    """The judgements of a file, in the order of `questions`, then the method against the baseline first.

    Raises ValueError where they are of other questions than these: a file is sorted by ids of its own.
    """
    position = {question: index for index, question in enumerate(questions)}
    rows = read_jsonl(path, Judgement)
    odd = {row.question for row in rows} ^ position.keys() if rows else set()
    if odd:
        raise ValueError(
            f"{path}: found judgements of other questions than those that were answered ({min(odd)!r} is "
            f"one); expected {len(position)} questions; run verify again"
        )
    systems = list(EVERY)

    def key(row: Judgement) -> tuple[int, ...]:
        pair = (row.a, row.b)
        return position[row.question], pair != (METHOD, BASELINE), *(-systems.index(name) for name in pair)

    return sorted(rows, key=key)


def contests(
    judgements: Sequence[Judgement], words: Mapping[str, Sequence[int]], how: Resampling
) -> list[Contest]:
    """A contest for every pair and aspect; words: of each system's answers, in the order of the questions."""
    every: list[Contest] = []
    for pair, rows in grouped(judgements, lambda row: (row.a, row.b)).items():
        every += _contests(pair, grouped(rows, lambda row: row.aspect), words, how)
    return every


def _contests(
    pair: tuple[str, str],
    rows: Mapping[str, Sequence[Judgement]],
    words: Mapping[str, Sequence[int]],
    how: Resampling,
) -> list[Contest]:
    a, b = pair
    longer = np.subtract(words[a], words[b], dtype=np.float64)
    by_aspect, p_values = [], []
    for judged in rows.values():
        ratios = Ratios.joined([_ratios(judged, longer), Ratios.of_means(longer)])
        # One purpose: the aspects of a pair share the resamples.
        draws = ratios.draws(how, f"pair/{a}-{b}")
        by_aspect.append(_estimates(ratios, draws, how))
        p_values.append(bootstrap_p(draws[:, RATES.index("net")]))
    return [
        Contest(
            *(a, b, aspect),
            questions=len(longer),
            judged=sum(row.outcome != "unjudged" for row in rows[aspect]),
            equal=sum(row.outcome == "tie" and row.forward is None for row in rows[aspect]),
            estimates=estimates,
            p=p,
            p_holm=adjusted,
        )
        for aspect, estimates, p, adjusted in zip(rows, by_aspect, p_values, holm(p_values), strict=True)
    ]


def _ratios(rows: Sequence[Judgement], longer: Floats) -> Ratios:
    """RATES and what only length control needs (x, x², x times the outcome), as ratios of sums over the
    questions of `rows`."""
    win, tie, lose, unjudged = (
        np.array([row.outcome == name for row in rows], dtype=np.float64)
        for name in ("win", "tie", "lose", "unjudged")
    )
    forward, backward = (np.array([getattr(r, side) or "" for r in rows]) for side in ("forward", "backward"))
    everyone, judged = np.ones(len(rows)), 1 - unjudged
    both = (forward != "") & (backward != "")
    first = (forward == "a").astype(np.float64) + (backward == "b")
    second = (forward == "b").astype(np.float64) + (backward == "a")
    x, y = relative_length(longer), win - lose
    columns = [
        (win, everyone),
        (tie, everyone),
        (lose, everyone),
        (unjudged, everyone),
        (y, judged),
        (both & (forward == backward), both),
        (first, first + second),
        (x * judged / 100, judged),
        (x * x * judged / 100, judged),
        (x * y, judged),
    ]
    numerators, denominators = zip(*columns, strict=True)
    return Ratios.of_sums(100 * np.column_stack(numerators), np.column_stack(denominators))


def relative_length(longer: Floats) -> Floats:
    """tanh of the length difference in its standard deviations: 0 at equal length, bounded by -1 and 1.

    The transformation of length-controlled AlpacaEval (Dubois et al., 2024).
    """
    spread = float(longer.std())
    return np.tanh(longer / spread) if spread > 0 else np.sign(longer)


def net_at_equal_length(net: Floats, x: Floats, xx: Floats, xy: Floats) -> Floats:
    """Intercept of least squares of the outcome (100 win, 0 tie, -100 loss) on the relative length x.

    Arguments: means over the judged questions of the outcome, x, x squared and x times the outcome.
    x is not centred: at x = 0 the answers are equally long. The mean where every x is 0; NaN where x does
    not vary otherwise, since nothing is known at equal length then.
    Deviation from length-controlled AlpacaEval: least squares rather than logistic regression, so that
    ties have their place and a resample costs four sums.
    """
    spread = xx - x * x
    nowhere = np.where(xx == 0, net, np.nan)
    return np.divide(net * xx - x * xy, spread, out=nowhere, where=spread > 1e-9 * xx)


def _estimates(ratios: Ratios, draws: Floats, how: Resampling) -> dict[str, Estimate]:
    """Estimates of RATES, the controlled net rate and the length difference, of one aspect."""
    names = [*RATES, CONTROLLED, "length_difference"]
    net, values = RATES.index("net"), ratios.values
    last = [*range(len(RATES)), net, -1]
    point, table = values[last], draws[:, last]
    point[-2] = net_at_equal_length(values[net], *values[len(RATES) : -1])
    table[:, -2] = net_at_equal_length(draws[:, net], *draws[:, len(RATES) : -1].T)
    # Where the data leave the intercept open, so do they its interval.
    counts = np.where(np.isnan(point), 0, ratios.defined[last])
    return dict(zip(names, summarise(point, table, counts, how), strict=True))


def judge_metrics(contests: Sequence[Contest]) -> dict[str, Any]:
    """pair ("kc-sft") -> aspect -> rates with their bounds, counts, and p values."""
    tree: dict[str, Any] = {}
    for contest in contests:
        leaf: dict[str, Any] = {"n": contest.questions, "judged": contest.judged, "equal": contest.equal}
        for name, estimate in contest.estimates.items():
            leaf |= estimate.flat(name)
        if contest.judged:
            leaf |= {"p": round(contest.p, 6), "p_holm": round(contest.p_holm, 6)}
        tree.setdefault(f"{contest.a}-{contest.b}", {})[contest.aspect] = leaf
    return tree
