"""Log-probabilities of tokens under a frozen output head, without ever holding all logits.

The gradient with respect to a state is one vector, the target's row of the head minus the mean of all rows by
their probabilities, times whatever comes from above. It is computed with the log-probability, a few states at
a time, so that logits stay in the cache and nothing is computed again in the backward pass.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.autograd.function import once_differentiable
from torch.nn.functional import pad

from knowtuning.batching import bucket
from knowtuning.products import PackedLinear

# Logits held at a time (numbers of 4 bytes): what a CPU's cache holds; what leaves a GPU room.
_CPU, _OTHER = 2**21, 2**26
# Buckets of the number of states (knowtuning.batching).
_STATES = 32


def frozen(head: Any) -> bool:
    """Whether an output head is a plain matrix without a gradient of its own."""
    plain = type(head) in (torch.nn.Linear, PackedLinear) and head.bias is None
    learns = any(parameter.requires_grad for parameter in head.parameters())
    return plain and not (learns and torch.is_grad_enabled())


def frozen_logps(
    head: torch.nn.Linear | PackedLinear, states: torch.Tensor, targets: torch.Tensor
) -> torch.Tensor:
    """log p of each target (n,) given its state (n, hidden), float32; for heads that are `frozen`."""
    function: Any = _FrozenHead
    count, cpu = len(states), states.device.type == "cpu"
    size = max(1, (_CPU if cpu else _OTHER) // head.out_features)
    rest = count % size
    more = min(bucket(rest, _STATES), size) - rest if cpu else 0
    if more:
        states, targets = pad(states, (0, 0, 0, more)), pad(targets, (0, more))
    found: torch.Tensor = function.apply(states, head, targets, size)
    return found[:count]


class _FrozenHead(torch.autograd.Function):
    """states (n, hidden), head (hidden -> vocabulary), targets (n,), states at a time -> (n,)."""

    @staticmethod
    def forward(ctx: Any, states: torch.Tensor, head: Any, targets: torch.Tensor, size: int) -> torch.Tensor:
        slopes = torch.empty_like(states) if ctx.needs_input_grad[0] else None
        found = torch.empty(len(states), dtype=torch.float32, device=states.device)
        for start in range(0, len(states), size):
            part, labels = slice(start, start + size), targets[start : start + size, None]
            logps = head(states[part]).float().log_softmax(dim=-1)
            found[part] = logps.gather(-1, labels)[:, 0]
            if slopes is not None:
                # Probabilities, less 1 at the target; in place, since they are the largest thing here.
                logps.exp_().scatter_add_(-1, labels, -torch.ones_like(labels, dtype=logps.dtype))
                slopes[part] = -(logps.to(head.weight.dtype) @ head.weight)
        if slopes is not None:
            ctx.save_for_backward(slopes)
        return found

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None, None, None]:
        (slopes,) = ctx.saved_tensors
        return gradient[:, None].to(slopes.dtype) * slopes, None, None, None
