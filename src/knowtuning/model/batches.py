"""Batches of sequences of similar length, so that padding costs little, and padding on the right."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

# The label of a token that no loss counts, as torch and transformers have it.
IGNORED = -100


def by_length(lengths: Sequence[int], budget: int, *, most: int | None = None) -> Iterator[list[int]]:
    """Indices of all sequences, longest first; a batch has at most `budget` tokens, with its padding.

    most: sequences a batch at most. A sequence longer than the budget is a batch of its own.
    """
    order = sorted(range(len(lengths)), key=lambda index: (-lengths[index], index))
    while order:
        size = max(1, budget // max(1, lengths[order[0]]))
        size = min(size, most or size)
        yield order[:size]
        order = order[size:]


def right_padded(rows: Sequence[Sequence[float]], padding: float) -> torch.Tensor:
    """Rows of numbers with `padding` behind them, (rows, longest).

    Causal attention needs no mask over it: no token sees what stands to its right.
    """
    import torch

    width = max(map(len, rows))
    return torch.tensor([[*row, *[padding] * (width - len(row))] for row in rows])


def padded(sequences: Sequence[tuple[Sequence[int], Sequence[int]]], padding: int) -> dict[str, torch.Tensor]:
    """(prompt, completion) as input_ids, completion_mask and labels, all (batch, longest)."""
    ids = right_padded([[*prompt, *completion] for prompt, completion in sequences], padding)
    mask = right_padded([[*[0] * len(prompt), *[1] * len(completion)] for prompt, completion in sequences], 0)
    return {"input_ids": ids, "completion_mask": mask, "labels": ids.masked_fill(mask == 0, IGNORED)}


def step_order(lengths: Sequence[int], batch: int, epochs: float, seed: int) -> list[int]:
    """Row indices in the order of training, `batch` for each optimiser step, longest first within a step.

    Epoch after epoch in a random order, so that a step's rows do not depend on how it is split into
    micro-batches; the last step is filled up. At least one step, however short the part of an epoch.
    """
    rows = len(lengths)
    steps = -(-max(1, round(epochs * rows)) // batch)
    draw, order = random.Random(seed), list[int]()
    while len(order) < steps * batch:
        order += draw.sample(range(rows), rows)
    for start in range(0, steps * batch, batch):
        step = order[start : start + batch]
        order[start : start + batch] = sorted(step, key=lambda index: (-lengths[index], index))
    return order[: steps * batch]
