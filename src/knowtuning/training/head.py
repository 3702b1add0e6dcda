"""Log-probabilities of tokens under a frozen output head on a CPU, without ever holding all logits.

The gradient with respect to a state is one vector, the target's row of the head minus the mean of all rows by
their probabilities, times whatever comes from above. It is computed with the log-probability, a few states at
a time, so that logits stay in the processor's cache and the backward pass multiplies nothing again. TRL's
fused head, which GPUs use (logps.py), takes 2.5 to 4 times as long on a CPU and holds tiles of 0.5 GB.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.autograd.function import once_differentiable

# Logits held at a time (numbers of 4 bytes): what a processor's cache holds.
_LOGITS = 2**21
# What a configuration may say that a head does to its logits beside the matrix product.
_TRANSFORMS = (
    "final_logit_softcapping",
    "logit_scale",
    "logits_scaling",
    "lm_head_multiplier",
    "output_multiplier",
)


def is_plain(model: Any) -> bool:
    """Whether the logits of a model are its last states times one frozen matrix, and nothing else."""
    head, config = model.get_output_embeddings(), model.config.get_text_config()
    if type(head) is not torch.nn.Linear or head.bias is not None or head.weight.requires_grad:
        return False
    return all(getattr(config, name, None) in (None, 1.0) for name in _TRANSFORMS)


def frozen_logps(weight: torch.Tensor, states: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """log p of each target (n,) given its state (n, hidden), float32; weight (vocabulary, hidden)."""
    function: Any = _FrozenHead
    logps: torch.Tensor = function.apply(states, weight, targets)
    return logps


class _FrozenHead(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, states: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        slopes = torch.empty_like(states) if ctx.needs_input_grad[0] else None
        logps = torch.empty(len(states), dtype=torch.float32, device=states.device)
        size = max(1, _LOGITS // len(weight))
        for start in range(0, len(states), size):
            part, labels = slice(start, start + size), targets[start : start + size, None]
            tile = torch.nn.functional.linear(states[part], weight).float().log_softmax(dim=-1)
            logps[part] = tile.gather(-1, labels)[:, 0]
            if slopes is not None:
                # Probabilities, less 1 at the target; in place, since they are the largest thing here.
                tile.exp_().scatter_add_(-1, labels, -torch.ones_like(labels, dtype=tile.dtype))
                slopes[part] = -(tile.to(weight.dtype) @ weight)
        if slopes is not None:
            ctx.save_for_backward(slopes)
        return logps

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        (slopes,) = ctx.saved_tensors
        return gradient[:, None].to(slopes.dtype) * slopes, None, None
