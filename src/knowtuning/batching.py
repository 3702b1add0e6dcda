"""Batches of sequences of similar length, so that padding costs little, and padding."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate, islice, takewhile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def by_length(
    lengths: Sequence[int], budget: int, *, most: int | None = None, padded: bool = True
) -> Iterator[list[int]]:
    """Indices of all sequences, longest first; a batch has at most `budget` tokens, with its padding.

    most: sequences a batch at most. padded: whether a batch is padded to its longest sequence. A sequence
    longer than the budget is a batch of its own.
    """
    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    while order:
        longest = lengths[order[0]]
        tokens = accumulate(longest if padded else lengths[i] for i in islice(order, most))
        size = max(1, sum(1 for _ in takewhile(budget.__ge__, tokens)))
        yield order[:size]
        order = order[size:]


def left_padded(rows: Sequence[Sequence[int]], pad: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows of numbers, and a mask that is 1 where they stand, 0 at padding; both (rows, longest)."""
    import torch

    width = max(map(len, rows))
    padded = torch.tensor([[pad] * (width - len(row)) + [*row] for row in rows])
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])
    return padded, mask


def bucket(size: int, parts: int) -> int:
    """The size of the bucket that `size` falls into: less than 1 / `parts` above it, and shared by its like.

    For sizes of matrix products on a CPU: oneDNN prepares one for each size that it meets (for packed weights
    and in bfloat16), which takes half a millisecond, and keeps it, in half a MiB.
    """
    step = 1 << max(0, (size - 1).bit_length() - parts.bit_length())
    return -(-size // step) * step
