"""How far raters agree beyond chance."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

CATEGORIES = ("win", "tie", "lose")


def cohen_kappa(first: Sequence[str], second: Sequence[str]) -> float | None:
    """Cohen's kappa of two raters over the same units (Cohen 1960), by scikit-learn.

    1 is perfect agreement, 0 what chance gives. None where there is no unit, or both raters use one and the
    same category throughout, so that chance alone agrees always.
    """
    from sklearn.metrics import cohen_kappa_score

    if not first or set(first) | set(second) == {first[0]}:
        return None
    found = float(cohen_kappa_score(first, second))
    return None if math.isnan(found) else found


def fleiss_kappa(counts: NDArray[np.int64]) -> float | None:
    """Fleiss' kappa of several raters (Fleiss 1971).

    counts: (units, categories), how many raters put the unit there; every row sums to the same number of
    raters, at least 2, which may be other people from unit to unit. None where there is no unit, or one
    category alone is used. Raises ValueError where rows sum to different numbers.
    """
    if not len(counts):
        return None
    raters = counts.sum(axis=1)
    if raters.min() != raters.max() or raters[0] < 2:
        raise ValueError(
            f"Fleiss' kappa: found {raters.min()} to {raters.max()} ratings a unit; "
            "expected the same number everywhere, 2 or more"
        )
    each = int(raters[0])
    shares = counts.sum(axis=0) / counts.sum()
    by_unit = ((counts * counts).sum(axis=1) - each) / (each * (each - 1))
    chance = float((shares * shares).sum())
    return None if chance == 1 else float((by_unit.mean() - chance) / (1 - chance))


def category_counts(ratings: Sequence[Sequence[str]]) -> NDArray[np.int64]:
    """Ratings of every unit as counts, (units, CATEGORIES)."""
    table = [[list(unit).count(name) for name in CATEGORIES] for unit in ratings]
    return np.array(table, dtype=np.int64).reshape(-1, len(CATEGORIES))
