"""Model input in which all facts of a question stand behind one shared prompt.

A row is `prompt fact1 fact2 …`. Every fact sees the prompt and itself (a block mask) and its positions
restart after the prompt, so the model computes for each fact what it would compute for `prompt fact`
alone, while the prompt is processed once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

# The mask and the attention scores grow with the square of a row, so no row is longer than this
# (tokens) unless a single fact makes it so.
ROW_TOKENS = 2048


@dataclass(frozen=True)
class Row:
    """Token ids of a prompt (at least one) and of facts that share it (each at least one)."""

    prompt: tuple[int, ...]
    facts: tuple[tuple[int, ...], ...]

    def __len__(self) -> int:
        return len(self.prompt) + sum(map(len, self.facts))

    @property
    def longest(self) -> int:
        """Length of the prompt with the longest fact: the context that the model needs (tokens)."""
        return len(self.prompt) + max(map(len, self.facts))


def split_rows(
    prompt: Sequence[int], facts: Sequence[Sequence[int]], limit: int = ROW_TOKENS
) -> Iterator[Row]:
    """Rows of at most `limit` tokens that hold all facts, in order; a fact that is too long stands alone."""
    pending: list[tuple[int, ...]] = []
    for fact in facts:
        if pending and len(prompt) + sum(map(len, pending)) + len(fact) > limit:
            yield Row(tuple(prompt), tuple(pending))
            pending = []
        pending.append(tuple(fact))
    if pending:
        yield Row(tuple(prompt), tuple(pending))


@dataclass(frozen=True)
class Batch:
    """Rows as tensors of b rows padded to t tokens, with n fact tokens in all.

    ids, positions: (b, t). mask: (b, 1, t, t), added to attention scores: 0 where seen, the most negative
    number of its type elsewhere. row, source: (n,), where the hidden state lies that predicts each fact
    token. target: (n,), that token.
    """

    ids: torch.Tensor
    positions: torch.Tensor
    mask: torch.Tensor
    row: torch.Tensor
    source: torch.Tensor
    target: torch.Tensor


def make_batch(rows: Sequence[Row], *, dtype: torch.dtype, device: str) -> Batch:
    """Lay rows out side by side, padded on the right."""
    import torch

    length = max(map(len, rows))
    ids = torch.zeros(len(rows), length, dtype=torch.long)
    positions = torch.zeros_like(ids)
    # Part 0 is the prompt, 1, 2, … the facts, -1 the padding.
    part = torch.full_like(ids, -1)
    predicted: list[tuple[int, int, int]] = []
    for index, row in enumerate(rows):
        end = len(row.prompt)
        ids[index, :end] = torch.tensor(row.prompt)
        positions[index, :end] = torch.arange(end)
        part[index, :end] = 0
        for number, fact in enumerate(row.facts, 1):
            here = slice(end, end + len(fact))
            ids[index, here] = torch.tensor(fact)
            positions[index, here] = torch.arange(len(row.prompt), len(row.prompt) + len(fact))
            part[index, here] = number
            sources = [len(row.prompt) - 1, *range(end, end + len(fact) - 1)]
            predicted += [(index, source, token) for source, token in zip(sources, fact, strict=True)]
            end += len(fact)
    row_index, source, target = torch.tensor(predicted).T.to(device)
    return Batch(
        ids.to(device), positions.to(device), _mask(part, dtype).to(device), row_index, source, target
    )


def _mask(part: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """The additive mask (b, 1, t, t) of parts (b, t); padding sees padding, so that no row is all masked."""
    import torch

    length = part.shape[1]
    own = part[:, :, None] == part[:, None, :]
    prompt = (part == 0)[:, None, :] & (part >= 0)[:, :, None]
    seen = (own | prompt) & torch.ones(length, length, dtype=torch.bool).tril()
    mask = torch.zeros(part.shape[0], 1, length, length, dtype=dtype)
    return mask.masked_fill(~seen[:, None], torch.finfo(dtype).min)
