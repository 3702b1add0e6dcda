"""Attention on a CPU: piece by piece where the batch says so, by plain matrix products where rows are short.

torch's fused attention computes all pairs of tokens of a row, those too that a mask keeps apart, and in
bfloat16 its backward pass takes two to four times as long as the products themselves while rows are short;
over longer ones the fused kernel wins, since it never holds all scores.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch.nn.functional import embedding_bag, scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import repeat_kv, sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from knowtuning.packing import Batch

_NAME = "knowtuning_pieces"
# Longest rows (tokens) that are computed by products: at 512 both take about the same time.
LONGEST = 512
# Numbers in the values of rows that are decoded, from which on they are read from memory rather than a cache.
_OUTSIDE = 2**19


def fit_attention(model: Any) -> None:
    """Let a model on a CPU that would use torch's fused attention use `attend`."""
    if model.device.type == "cpu" and model.config._attn_implementation == "sdpa":
        AttentionInterface.register(_NAME, attend)
        AttentionMaskInterface.register(_NAME, sdpa_mask)
        model.set_attn_implementation(_NAME)


def fitted(model: Any) -> bool:
    """Whether a model uses `attend`."""
    return bool(model.config._attn_implementation == _NAME)


class Pieces:
    """What attention piece by piece is told: the cells to gather, and the mask of each group."""

    def __init__(self, batch: Batch) -> None:
        self.queries, self.keys, self.slots = batch.queries, batch.keys, batch.slots
        self.groups: list[tuple[int, int, int]] = [
            (n, before, own) for n, before, own in batch.groups.tolist()
        ]
        counts = [count for count, _, _ in self.groups]
        contexts = torch.split(batch.contexts, counts)
        self.masks = [_mask(*group, own) for group, own in zip(self.groups, contexts, strict=True)]

    def attend(
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scaling: float
    ) -> torch.Tensor:
        """Attention of the cells of one row, each group of pieces at a time."""
        queries = query[0].transpose(0, 1).index_select(0, self.queries)
        keys, values = (states[0].transpose(0, 1).index_select(0, self.keys) for states in (key, value))
        found = []
        for own, seen, content, mask in zip(
            self._parts(queries, context=False),
            self._parts(keys, context=True),
            self._parts(values, context=True),
            self.masks,
            strict=True,
        ):
            if own.shape[2] <= LONGEST:
                out = _products(own, seen, content, mask, scaling)
            else:
                groups = own.shape[1] // seen.shape[1]
                seen, content = repeat_kv(seen, groups), repeat_kv(content, groups)
                out = scaled_dot_product_attention(own, seen, content, attn_mask=mask, scale=scaling)
            found.append(out.transpose(1, 2).flatten(0, 1))
        return torch.cat(found).index_select(0, self.slots)[None]

    def _parts(self, cells: torch.Tensor, *, context: bool) -> Iterator[torch.Tensor]:
        """Of gathered cells (n, heads, width) those of each group, (pieces, heads, tokens, width)."""
        sizes = [(count, context * before + own) for count, before, own in self.groups]
        for part, size in zip(torch.split(cells, [a * b for a, b in sizes]), sizes, strict=True):
            yield part.view(*size, *part.shape[1:]).transpose(1, 2)


class Decoding:
    """What attention is told of rows that are decoded together, in groups of about the same length.

    masks: of each group, (rows, 1, 1, padding), added to the scores of the first tokens, which are padding in
    some of its rows. opening: keys and values of what all rows begin with, (heads, tokens, width), in the
    layer at hand; states: those of what follows in each group, (rows, heads, tokens, width). The cache puts
    both here.
    """

    def __init__(self, masks: Sequence[torch.Tensor]) -> None:
        self.masks = list(masks)
        self.opening: tuple[torch.Tensor, torch.Tensor]
        self.states: list[tuple[torch.Tensor, torch.Tensor]] = []

    def attend(self, query: torch.Tensor, _: torch.Tensor, __: torch.Tensor, scaling: float) -> torch.Tensor:
        """Attention of the last token of each row over the opening, read once for all, and what follows."""
        rows, heads, one, width = query.shape
        keys, values = self.opening
        # Heads that share keys are rows of one product.
        query = (query * scaling).view(rows, len(keys), -1, width)
        sizes = [len(states) for states, _ in self.states]
        openings, shares, sums = torch.split(_times(query, keys.mT), sizes), [], []
        groups = zip(torch.split(query, sizes), openings, self.states, self.masks, strict=True)
        for own, opening, (follow, content), mask in groups:
            scores = (follow @ own.mT).mT
            _masked(scores[..., : mask.shape[-1]], mask)
            scores = torch.cat([opening, scores], dim=-1)
            weights = scores.softmax(dim=-1, dtype=torch.float32).to(query.dtype)
            shares.append(weights[..., : keys.shape[1]])
            sums.append(_weighted_sums(weights[..., keys.shape[1] :], content))
        found = torch.cat(sums).add_(_times(torch.cat(shares), values))
        return found.view(rows, one, heads, width)


def _times(rows: torch.Tensor, matrices: torch.Tensor) -> torch.Tensor:
    """(rows, heads, n, a) by the matrix of each head, (heads, a, b): (rows, heads, n, b)."""
    count, heads, n, _ = rows.shape
    return (rows.transpose(0, 1).flatten(1, 2) @ matrices).view(heads, count, n, -1).transpose(0, 1)


def _mask(count: int, context: int, own: int, lengths: torch.Tensor) -> torch.Tensor:
    """(count, 1, own, context + own), True where seen; contexts of those lengths are padded on the left."""
    before = torch.arange(context, device=lengths.device) >= context - lengths[:, None]
    causal = torch.ones(own, own, dtype=torch.bool, device=lengths.device).tril()
    seen = before[:, None, :].expand(count, own, context), causal.expand(count, own, own)
    return torch.cat(seen, dim=-1)[:, None]


def attend(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    dropout: float = 0.0,
    scaling: float | None = None,
    is_causal: bool | None = None,
    pieces: Pieces | Decoding | None = None,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """What `sdpa_attention_forward` of transformers computes: (batch, tokens, heads, width).

    query, key, value: (batch, heads, tokens, width), of the latter two perhaps fewer heads. attention_mask:
    (batch or 1, 1, tokens, tokens), True where seen or added to the scores; None: all that came before.
    `pieces` stands for a mask, over the only row there is or over rows that are decoded.
    """
    scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
    if pieces is not None:
        return pieces.attend(query, key, value, scaling), None
    tokens = query.shape[2]
    special = dropout or any(option is not None for option in map(options.get, ("position_bias", "cache")))
    if tokens == 1 and not special and (attention_mask is None or attention_mask.shape[1] == 1):
        return _one_token(query, key, value, attention_mask, scaling), None
    short = query.dtype == torch.bfloat16 and tokens <= LONGEST and key.shape[2] == tokens
    if special or not short:
        found: tuple[torch.Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout, scaling, is_causal, **options
        )
        return found
    if attention_mask is None and (getattr(module, "is_causal", True) if is_causal is None else is_causal):
        attention_mask = torch.ones(tokens, tokens, dtype=torch.bool, device=query.device).tril()
    return _products(query, key, value, attention_mask, scaling).transpose(1, 2).contiguous(), None


def _one_token(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor | None, scaling: float
) -> torch.Tensor:
    """Attention of the last token of each row; heads that share keys are rows of one product, no copies."""
    rows, heads, _, width = query.shape
    query = query.reshape(rows, key.shape[1], -1, width)
    found = scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=scaling)
    return found.reshape(rows, 1, heads, width)


def _weighted_sums(weights: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """weights @ value, for few weights of each vector: (rows, heads, queries, tokens) -> (…, width).

    Where a cache does not hold them as an embedding bag, which reads memory up to twice as fast as a product
    of vector and matrix.
    """
    rows, heads, queries, tokens = weights.shape
    if value.numel() < _OUTSIDE or value.dtype != torch.float32 or not _is_table(value):
        return weights @ value
    width, room = value.shape[-1], value.stride(1) // value.shape[-1]
    table = value.as_strided((rows * heads * room, width), (width, 1))
    found = embedding_bag(
        _places(rows * heads, queries, tokens, room),
        table,
        mode="sum",
        per_sample_weights=weights.reshape(-1, tokens),
    )
    return found.view(rows, heads, queries, width)


def _is_table(value: torch.Tensor) -> bool:
    """Whether a value tensor, (rows, heads, tokens, width), lies in one matrix of vectors, as caches do."""
    rows, heads, _, width = value.shape
    across, along, token, number = value.stride()
    ordered = number == 1 and token == width and along % width == 0 and across == heads * along
    # What lies behind the last token, to the end of its row, is part of the matrix.
    end = value.storage_offset() + rows * across
    return ordered and end * value.itemsize <= value.untyped_storage().nbytes()


@functools.lru_cache(maxsize=8)  # all layers of a step ask for the same, a group after the other
def _places(parts: int, queries: int, tokens: int, room: int) -> torch.Tensor:
    """(parts · queries, tokens): of each part of `room` vectors the first ones, for each query."""
    first = torch.arange(0, parts * room, room, dtype=torch.int32)[:, None, None]
    return (first + torch.arange(tokens, dtype=torch.int32).expand(queries, tokens)).view(-1, tokens)


def _products(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor | None, scaling: float
) -> torch.Tensor:
    """(batch, heads, tokens, width) by matrix products; mask: True where seen, or added to the scores."""
    groups = query.shape[1] // key.shape[1]
    key, value = repeat_kv(key, groups), repeat_kv(value, groups)
    scores = _masked(query * scaling @ key.mT, mask)
    return scores.softmax(dim=-1, dtype=torch.float32).to(value.dtype) @ value


def _masked(scores: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """Scores, in place, by a mask that is True where seen, or is added."""
    if mask is None:
        return scores
    least = torch.finfo(scores.dtype).min
    if mask.dtype == torch.bool:
        return scores.masked_fill_(~mask, least)
    # The least number of float32 would be infinite in bfloat16, and a row of nothing else no number.
    return scores.add_(mask.clamp(min=least).to(scores.dtype))
