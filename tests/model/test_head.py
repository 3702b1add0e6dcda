"""The frozen head against log softmax: values, gradients, parts, and what it must not be used for."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from knowtuning.training import head
from knowtuning.training.head import frozen_logps, is_plain
from tests.support.tiny_models import random_model

TOKENS, HIDDEN, VOCABULARY = 11, 6, 23


def matrix() -> torch.Tensor:
    torch.manual_seed(0)
    return torch.randn(VOCABULARY, HIDDEN)


def by_definition(weight: torch.Tensor, states: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """In float64, with all logits."""
    logits = states.double() @ weight.double().T
    return torch.log_softmax(logits, dim=-1).gather(-1, targets[:, None])[:, 0]


@pytest.mark.parametrize("size", [1, 4, 100])
@pytest.mark.parametrize("bfloat16", [False, True])
def test_values_and_gradients_are_those_of_the_definition(
    monkeypatch: pytest.MonkeyPatch, size: int, bfloat16: bool
) -> None:
    monkeypatch.setattr(head, "_LOGITS", size * VOCABULARY)
    weight, targets = matrix(), torch.randint(VOCABULARY, (TOKENS,))
    start, above = torch.randn(TOKENS, HIDDEN), torch.randn(TOKENS)
    results = []
    for call in (frozen_logps, by_definition):
        states = start.clone().requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16 and call is frozen_logps):
            values: Any = call(weight, states, targets)
        (values * above).sum().backward()
        results.append((values.detach().double(), states.grad.double()))
    # bfloat16 has 8 bits: logits of up to about 5 are right to 0.02, probabilities and weights to 2^-8.
    near = {"rtol": 0, "atol": 0.06 if bfloat16 else 1e-5}
    torch.testing.assert_close(results[0], results[1], **near)


def test_without_gradients_none_are_prepared() -> None:
    weight, states = matrix(), torch.randn(TOKENS, HIDDEN)
    targets = torch.randint(VOCABULARY, (TOKENS,))
    with torch.no_grad():
        values = frozen_logps(weight, states.requires_grad_(), targets)
    assert not values.requires_grad
    expected = by_definition(weight, states, targets).detach()
    torch.testing.assert_close(values.double(), expected, rtol=0, atol=1e-5)


def test_heads_that_do_more_than_a_product_or_learn_are_left_to_trl() -> None:
    def model(family: str, **overrides: Any) -> Any:
        return random_model(family, **overrides).requires_grad_(False)

    assert is_plain(model("llama"))
    assert not is_plain(model("gemma2", head_dim=8, num_key_value_heads=2))  # soft-capped
    assert not is_plain(model("granite", logits_scaling=8.0))  # divided by logits_scaling
    assert not is_plain(model("llama").requires_grad_(True))
    with_bias = model("llama")
    with_bias.lm_head = torch.nn.Linear(32, 97).requires_grad_(False)
    assert not is_plain(with_bias)
