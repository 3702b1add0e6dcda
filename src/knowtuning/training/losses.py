"""The losses of the method, as pure functions of log-probabilities (nats).

Shapes: `logps` (batch, tokens), 0 where a token does not count; `counted` (batch, tokens), 1 where it does;
of pairs (pairs,). A mask, a normalisation or another preference loss is a line or an entry here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def nll(logps: torch.Tensor, tokens: torch.Tensor | float) -> torch.Tensor:
    """Negative log-likelihood a token: of a whole step, whose counted tokens are `tokens` (paper, 3.2)."""
    return -logps.sum() / tokens


def mean_nll(logps: torch.Tensor, counted: torch.Tensor) -> torch.Tensor:
    """Negative log-likelihood a token of each completion, (batch,); each has at least one token."""
    return -logps.sum(dim=1) / counted.sum(dim=1)


@dataclass(frozen=True)
class PairLogps:
    """Of each pair, (pairs,): log-probabilities summed over the completions, and their numbers of tokens.

    Both count a token as counted.py weighs it. offset: by how much the reward of chosen is to lead, 0 in
    the paper.
    """

    policy_chosen: torch.Tensor
    policy_rejected: torch.Tensor
    reference_chosen: torch.Tensor
    reference_rejected: torch.Tensor
    chosen_tokens: torch.Tensor
    rejected_tokens: torch.Tensor
    offset: torch.Tensor | float = field(default=0.0, kw_only=True)

    def rewards(self, beta: float) -> tuple[torch.Tensor, torch.Tensor]:
        """Of chosen and rejected: beta times the log-ratio of policy to reference."""
        chosen = beta * (self.policy_chosen - self.reference_chosen)
        return chosen, beta * (self.policy_rejected - self.reference_rejected)

    def mean_ratios(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Of chosen and rejected: the log-ratio of policy to reference a token; 0 where no token counts."""
        chosen = (self.policy_chosen - self.reference_chosen) / self.chosen_tokens.clamp(min=1)
        return chosen, (self.policy_rejected - self.reference_rejected) / self.rejected_tokens.clamp(min=1)


def dpo(pairs: PairLogps, beta: float) -> torch.Tensor:
    """-log sigmoid(margin), the margin being chosen less rejected reward (Rafailov et al. 2023, equation 7).

    ln 2 where policy and reference agree. An offset is taken off the margin (Amini et al. 2024).
    """
    from torch.nn.functional import logsigmoid

    chosen, rejected = pairs.rewards(beta)
    return -logsigmoid(chosen - rejected - pairs.offset)


def dpo_mean(pairs: PairLogps, beta: float) -> torch.Tensor:
    """DPO on log-ratios a token, so that length adds nothing to a margin (Lambert et al. 2024, Tulu 3).

    Its beta is larger than DPO's by about the number of tokens; Tulu 3 takes 5.
    """
    from torch.nn.functional import logsigmoid

    chosen, rejected = pairs.mean_ratios()
    return -logsigmoid(beta * (chosen - rejected) - pairs.offset)


def ipo(pairs: PairLogps, beta: float) -> torch.Tensor:
    """(margin - 1 / 2 beta)², the margin being that of log-ratios a token (Azar et al. 2023, equation 17).

    An offset adds offset / beta to the aim. Deviation: means over tokens in place of sums, as TRL has it, so
    that the aim does not depend on length.
    """
    chosen, rejected = pairs.mean_ratios()
    return (chosen - rejected - (0.5 + pairs.offset) / beta) ** 2


# What `loss` of a preference section may name: pairs and beta to the loss of each pair, (pairs,).
LOSSES: dict[str, Callable[[PairLogps, float], torch.Tensor]] = {
    "dpo": dpo,
    "dpo_mean": dpo_mean,
    "ipo": ipo,
}
