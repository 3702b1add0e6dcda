"""Batches of sequences of similar length, so that padding costs little."""

from __future__ import annotations

from collections.abc import Iterator, Sequence


def by_length(lengths: Sequence[int], budget: int, *, most: int | None = None) -> Iterator[list[int]]:
    """Indices of all sequences, longest first; a batch has at most `budget` tokens, padding included.

    most: sequences a batch at most. A sequence longer than the budget is a batch of its own.
    """
    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    while order:
        size = max(1, budget // max(1, lengths[order[0]]))
        size = min(size, most or size)
        yield order[:size]
        order = order[size:]
