"""Attention by plain matrix products, for training on a CPU in bfloat16.

There the backward pass of torch's fused attention takes two to four times as long as the products themselves
while rows are short; over longer ones the fused kernel wins, since it never holds all scores.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from knowtuning.runtime.machine import Precision

if TYPE_CHECKING:
    import torch

_NAME = "knowtuning_products"
# Longest rows (tokens) that are computed by products: at 512 both take about the same time.
LONGEST = 512


def fit_attention(model: Any, device: str, precision: Precision) -> None:
    """Let a model that would use torch's fused attention use products where they are faster."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    slow = device == "cpu" and precision == "bfloat16"
    if not slow or model.config._attn_implementation != "sdpa":
        return
    AttentionInterface.register(_NAME, attend)
    AttentionMaskInterface.register(_NAME, sdpa_mask)
    model.set_attn_implementation(_NAME)


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
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """What `sdpa_attention_forward` of transformers computes: (batch, tokens, heads, width).

    query, key, value: (batch, heads, tokens, width), of the latter two perhaps fewer heads. attention_mask:
    (batch or 1, 1, tokens, tokens), True where seen or added to the scores; None: all that came before.
    """
    import torch
    from transformers.integrations.sdpa_attention import repeat_kv, sdpa_attention_forward

    tokens = query.shape[2]
    special = dropout or any(option is not None for option in map(options.get, ("position_bias", "cache")))
    if tokens > LONGEST or key.shape[2] != tokens or special:
        found: tuple[torch.Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout, scaling, is_causal, **options
        )
        return found
    groups = query.shape[1] // key.shape[1]
    key, value = repeat_kv(key, groups), repeat_kv(value, groups)
    scores = query * (query.shape[-1] ** -0.5 if scaling is None else scaling) @ key.mT
    if attention_mask is not None or (getattr(module, "is_causal", True) if is_causal is None else is_causal):
        scores = _masked(scores, attention_mask)
    weights = scores.softmax(dim=-1, dtype=torch.float32).to(value.dtype)
    return (weights @ value).transpose(1, 2).contiguous(), None


def _masked(scores: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """Scores (…, tokens, tokens), in place, with a mask over them; without one, that of what came before."""
    import torch

    least = torch.finfo(scores.dtype).min
    if mask is None:
        mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
    if mask.dtype == torch.bool:
        return scores.masked_fill_(~mask, least)
    # The least number of float32 would be infinite in bfloat16, and a row of nothing else no number.
    return scores.add_(mask.clamp(min=least).to(scores.dtype))
