"""The losses against their equations, by hand."""

from __future__ import annotations

import math

import pytest
import torch

from knowtuning.model.losses import dpo, mean_nll, nll


def test_nll_is_a_mean_over_the_tokens_of_the_step() -> None:
    # Two rows of 2 and 1 tokens, of a step with 6: (0.5 + 1.5 + 1) / 6.
    logps = torch.tensor([[-0.5, -1.5], [-1.0, 0.0]])
    assert nll(logps, 6).item() == pytest.approx(0.5)
    counted = torch.tensor([[1, 1], [1, 0]])
    assert mean_nll(logps, counted).tolist() == pytest.approx([1.0, 1.0])


def test_dpo_is_ln_2_where_policy_and_reference_agree() -> None:
    chosen, rejected = torch.tensor([-3.0, -40.0]), torch.tensor([-5.0, -2.0])
    pairs = dpo(chosen, rejected, chosen, rejected, beta=0.3)
    assert pairs.loss.tolist() == pytest.approx([math.log(2)] * 2)
    assert pairs.chosen_rewards.tolist() == pairs.rejected_rewards.tolist() == [0.0, 0.0]


def test_dpo_by_hand_and_the_other_way_round() -> None:
    # Rewards 0.1 · (−2 + 3) = 0.1 and 0.1 · (−7 + 5) = −0.2: margin 0.3, loss ln(1 + e^−0.3) = 0.55436.
    sides = [torch.tensor([value]) for value in (-2.0, -7.0, -3.0, -5.0)]
    pairs = dpo(*sides, beta=0.1)
    assert pairs.loss.item() == pytest.approx(0.554355, abs=1e-6)
    # Chosen and rejected swapped: the margin is negated, ln(1 + e^0.3) = 0.85436.
    swapped = dpo(sides[1], sides[0], sides[3], sides[2], beta=0.1)
    assert swapped.loss.item() == pytest.approx(0.854355, abs=1e-6)
    assert swapped.chosen_rewards.item() == pairs.rejected_rewards.item()
