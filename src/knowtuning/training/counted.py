"""Which tokens of a pair its preference loss counts: a weight for each token of both completions.

NLL(chosen), which stands beside that loss, counts every token whatever is chosen here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from difflib import SequenceMatcher

Tokens = Sequence[int]
Weights = list[float]
# What LD-DPO gives the tokens that only the longer completion has.
_BEYOND = 0.5


def every(chosen: Tokens, rejected: Tokens, end: int) -> tuple[Weights, Weights]:
    """All tokens (paper)."""
    return [1.0] * len(chosen), [1.0] * len(rejected)


def but_end(chosen: Tokens, rejected: Tokens, end: int) -> tuple[Weights, Weights]:
    """All before the one that ends an answer, so that the loss teaches nothing about when to end."""

    def before(side: Tokens) -> Weights:
        counted = list(side).index(end) if end in side else len(side)
        return [1.0] * counted + [0.0] * (len(side) - counted)

    return before(chosen), before(rejected)


def differing(chosen: Tokens, rejected: Tokens, end: int) -> tuple[Weights, Weights]:
    """Those that the other side does not have in the same order: what is missing, false or elsewhere."""
    weights = every(chosen, rejected, end)
    matcher = SequenceMatcher(None, list(chosen), list(rejected), autojunk=False)
    for block in matcher.get_matching_blocks():
        for side, start in zip(weights, (block.a, block.b), strict=True):
            side[start : start + block.size] = [0.0] * block.size
    return weights


def shared_length(chosen: Tokens, rejected: Tokens, end: int) -> tuple[Weights, Weights]:
    """All, but those beyond the length of the shorter completion by half (LD-DPO, Liu et al. 2024)."""
    shared = min(len(chosen), len(rejected))
    one, other = ([1.0] * shared + [_BEYOND] * (len(side) - shared) for side in (chosen, rejected))
    return one, other


# What `counted` of a preference section may name: completions (token ids) and the token that ends an answer
# to the weights of both.
COUNTED: dict[str, Callable[[Tokens, Tokens, int], tuple[Weights, Weights]]] = {
    "all": every,
    "but_end": but_end,
    "differing": differing,
    "shared_length": shared_length,
}
