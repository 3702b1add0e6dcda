"""The losses against their equations, by hand, and against TRL."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from knowtuning.training.losses import LOSSES, PairLogps, dpo, dpo_mean, ipo, mean_nll, nll


def pair(*sums: float, tokens: tuple[int, int] = (1, 1)) -> PairLogps:
    """One pair: log-probabilities of the chosen and the rejected answer by the policy, then the reference."""
    return PairLogps(*(torch.tensor([value]) for value in (*sums, *tokens)))


def test_nll_is_a_mean_over_the_tokens_of_the_step() -> None:
    # Two rows of 2 and 1 tokens, of a step with 6: (0.5 + 1.5 + 1) / 6.
    logps = torch.tensor([[-0.5, -1.5], [-1.0, 0.0]])
    assert nll(logps, 6).item() == pytest.approx(0.5)
    counted = torch.tensor([[1, 1], [1, 0]])
    assert mean_nll(logps, counted).tolist() == pytest.approx([1.0, 1.0])


def test_dpo_is_ln_2_where_policy_and_reference_agree() -> None:
    same = pair(-3.0, -5.0, -3.0, -5.0)
    assert dpo(same, 0.3).item() == pytest.approx(math.log(2))
    assert [reward.item() for reward in same.rewards(0.3)] == [0.0, 0.0]


def test_dpo_by_hand_and_the_other_way_round() -> None:
    # Rewards 0.1 · (−2 + 3) = 0.1 and 0.1 · (−7 + 5) = −0.2: margin 0.3, loss ln(1 + e^−0.3) = 0.55436.
    one = pair(-2.0, -7.0, -3.0, -5.0)
    assert dpo(one, 0.1).item() == pytest.approx(0.554355, abs=1e-6)
    # Chosen and rejected swapped: the margin is negated, ln(1 + e^0.3) = 0.85436.
    other = pair(-7.0, -2.0, -5.0, -3.0)
    assert dpo(other, 0.1).item() == pytest.approx(0.854355, abs=1e-6)
    assert other.rewards(0.1)[0].item() == one.rewards(0.1)[1].item()


def test_ipo_by_hand() -> None:
    # Log-ratios a token (−2 + 3) / 4 = 0.25 and (−7 + 5) / 2 = −1: (1.25 − 1 / 0.2)² = 14.0625.
    assert ipo(pair(-2.0, -7.0, -3.0, -5.0, tokens=(4, 2)), 0.1).item() == pytest.approx(14.0625)
    # Where policy and reference agree, (1 / 2 beta)².
    assert ipo(pair(-3.0, -5.0, -3.0, -5.0, tokens=(4, 2)), 0.1).item() == pytest.approx(25.0)


def test_dpo_a_token_by_hand() -> None:
    # The log-ratios a token above, 0.25 and -1, times beta 2: ln(1 + e^-2.5) = 0.078889.
    one = pair(-2.0, -7.0, -3.0, -5.0, tokens=(4, 2))
    assert dpo_mean(one, 2.0).item() == pytest.approx(0.078889, abs=1e-6)
    # A side of which no token counts has ratio 0: ln(1 + e^-0.5) = 0.474077.
    other = pair(-2.0, 0.0, -3.0, 0.0, tokens=(4, 0))
    assert dpo_mean(other, 2.0).item() == pytest.approx(0.474077, abs=1e-6)


@pytest.mark.parametrize("loss", LOSSES)
def test_a_loss_falls_where_the_chosen_answer_gains(loss: str) -> None:
    before, after = pair(-3.0, -5.0, -3.0, -5.0), pair(-2.5, -5.5, -3.0, -5.0)
    assert LOSSES[loss](after, 0.1).item() < LOSSES[loss](before, 0.1).item()


def test_an_offset_is_what_the_margin_has_to_exceed() -> None:
    # The pair above has a margin of 0.3: with an offset of as much the loss is ln 2.
    one = pair(-2.0, -7.0, -3.0, -5.0)
    assert dpo(replace(one, offset=torch.tensor([0.3])), 0.1).item() == pytest.approx(math.log(2))
    # A token: 0.25 and −1, times beta 2, margin 2.5.
    mean = pair(-2.0, -7.0, -3.0, -5.0, tokens=(4, 2))
    assert dpo_mean(replace(mean, offset=2.5), 2.0).item() == pytest.approx(math.log(2))
    # The aim is 1 / 0.2 + 0.5 / 0.1 = 10: (1.25 − 10)² = 76.5625.
    assert ipo(replace(mean, offset=0.5), 0.1).item() == pytest.approx(76.5625)
