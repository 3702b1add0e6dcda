"""Shares of a number of facts, free of the rounding errors of binary fractions."""

from __future__ import annotations

import math
from fractions import Fraction


def ceil_share(share: float, count: int) -> int:
    """The smallest whole number >= share * count, with `share` taken as the decimal it is written as.

    In floats 0.1 * 30 is a little more than 3 and its ceiling 4; here it is 3.
    """
    return math.ceil(Fraction(repr(share)) * count)


def floor_share(share: float, count: int) -> int:
    """The largest whole number <= share * count, with `share` taken as the decimal it is written as."""
    return math.floor(Fraction(repr(share)) * count)
