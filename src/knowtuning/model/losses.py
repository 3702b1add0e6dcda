"""The losses of the method, as pure functions of per-token log-probabilities.

Shapes: `logps` (batch, tokens), nats, 0 where a token does not count; `counted` (batch, tokens), 1 where it
does; sums over completions (batch,). A mask or another normalisation is one line here.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch.nn.functional import logsigmoid


def nll(logps: torch.Tensor, tokens: torch.Tensor | float) -> torch.Tensor:
    """Negative log-likelihood a token: of a whole step, whose counted tokens are `tokens` (paper, 3.2)."""
    return -logps.sum() / tokens


def mean_nll(logps: torch.Tensor, counted: torch.Tensor) -> torch.Tensor:
    """Negative log-likelihood a token of each completion, (batch,); each has at least one token."""
    return -logps.sum(dim=1) / counted.sum(dim=1)


class Preference(NamedTuple):
    """Of each pair, (pairs,): its loss, and rewards, beta times log-ratios to the reference (nats)."""

    loss: torch.Tensor
    chosen_rewards: torch.Tensor
    rejected_rewards: torch.Tensor


def dpo(
    policy_chosen_logps: torch.Tensor,
    policy_rejected_logps: torch.Tensor,
    reference_chosen_logps: torch.Tensor,
    reference_rejected_logps: torch.Tensor,
    *,
    beta: float,
) -> Preference:
    """-log sigmoid(margin), the margin being chosen less rejected reward (Rafailov et al. 2023, equation 7).

    All sums over completions, (pairs,), nats. ln 2 where policy and reference agree.
    """
    chosen = beta * (policy_chosen_logps - reference_chosen_logps)
    rejected = beta * (policy_rejected_logps - reference_rejected_logps)
    return Preference(-logsigmoid(chosen - rejected), chosen, rejected)
