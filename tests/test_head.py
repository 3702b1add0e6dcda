"""The frozen head against log softmax: values, gradients, parts, and what it must not be used for."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from knowtuning import head
from knowtuning.head import frozen, frozen_logps

TOKENS, HIDDEN, VOCABULARY = 11, 6, 23


def matrix(dtype: torch.dtype = torch.float32) -> torch.nn.Linear:
    torch.manual_seed(0)
    made = torch.nn.Linear(HIDDEN, VOCABULARY, bias=False, dtype=dtype)
    return made.requires_grad_(False)


def plain(layer: torch.nn.Linear, states: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """The definition, in float64."""
    logits = states.double() @ layer.weight.double().T
    return torch.log_softmax(logits, dim=-1).gather(-1, targets[:, None])[:, 0]


@pytest.mark.parametrize("size", [1, 4, 100])
@pytest.mark.parametrize("bfloat16", [False, True])
def test_values_and_gradients_are_those_of_the_definition(
    monkeypatch: pytest.MonkeyPatch, size: int, bfloat16: bool
) -> None:
    monkeypatch.setattr(head, "_CPU", size * VOCABULARY)
    layer, targets = matrix(), torch.randint(VOCABULARY, (TOKENS,))
    start, above = 3 * torch.randn(TOKENS, HIDDEN), torch.randn(TOKENS)
    found = []
    for call in (frozen_logps, plain):
        states = start.clone().requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16 and call is frozen_logps):
            values: Any = call(layer, states, targets)
        (values * above).sum().backward()
        found.append((values.detach().double(), states.grad.double()))
    assert layer.weight.grad is None
    # bfloat16 has 8 bits: logits of up to about 5 are right to 0.02, probabilities and weights to 2^-8.
    near = {"rtol": 0, "atol": 0.06 if bfloat16 else 1e-5}
    torch.testing.assert_close(found[0], found[1], **near)


def test_without_gradients_none_are_prepared() -> None:
    layer, states = matrix(), torch.randn(TOKENS, HIDDEN)
    targets = torch.randint(VOCABULARY, (TOKENS,))
    with torch.no_grad():
        found = frozen_logps(layer, states.requires_grad_(), targets)
    assert not found.requires_grad
    torch.testing.assert_close(found.double(), plain(layer, states, targets).detach(), rtol=0, atol=1e-5)


def test_a_head_that_learns_is_none_of_its_business() -> None:
    layer = matrix()
    assert frozen(layer)
    assert not frozen(torch.nn.Linear(2, 3).requires_grad_(False))  # a bias
    layer.requires_grad_(True)
    assert not frozen(layer)
    with torch.no_grad():
        assert frozen(layer)

    class Adapted(torch.nn.Linear):
        pass

    assert not frozen(Adapted(2, 3, bias=False).requires_grad_(False))
