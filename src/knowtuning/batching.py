"""Batches of sequences of similar length, so that padding costs little, and padding."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


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


def left_padded(rows: Sequence[Sequence[int]], pad: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows of numbers, and a mask that is 1 where they stand, 0 at padding; both (rows, longest)."""
    import torch

    width = max(map(len, rows))
    padded = torch.tensor([[pad] * (width - len(row)) + [*row] for row in rows])
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])
    return padded, mask
