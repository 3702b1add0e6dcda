"""Packed weights against plain ones: values, what a model keeps, and when they are not used."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from knowtuning import products
from knowtuning.products import PackedLinear, pack_weights

sys.path.insert(0, str(Path(__file__).resolve().parent / "knowledge"))
from tiny_models import random_model

IDS = torch.tensor([[3, 8, 1, 30, 2], [7, 7, 9, 4, 5]])


@given(rows=st.integers(0, 70), inside=st.integers(1, 40), out=st.integers(1, 40), bias=st.booleans())
def test_it_computes_what_a_linear_layer_does(rows: int, inside: int, out: int, bias: bool) -> None:
    torch.manual_seed(rows)
    layer = torch.nn.Linear(inside, out, bias=bias).requires_grad_(False)
    packed, states = PackedLinear(layer), torch.randn(2, rows, inside)
    torch.testing.assert_close(packed(states), layer(states), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(packed(states.mT.contiguous().mT), layer(states), rtol=1e-5, atol=1e-5)
    assert torch.equal(packed.weight, layer.weight)


@pytest.mark.parametrize("family", ["llama", "gpt2", "opt"])
@pytest.mark.parametrize("split", [False, True])
def test_a_model_computes_the_same_and_holds_each_weight_once(family: str, split: bool) -> None:
    model: Any = random_model(family)
    with torch.inference_mode():
        plain = model(IDS).logits
        pack_weights(model, split=split)
        torch.testing.assert_close(model(IDS).logits, plain, rtol=1e-4, atol=1e-4)
    linear = [module for module in model.modules() if type(module) is torch.nn.Linear]
    assert bool(linear) == split  # a packed weight has taken the place of each plain one


def test_split_and_whole_weights_give_the_same_bits() -> None:
    found = []
    for split in (False, True):
        model: Any = random_model("llama")
        pack_weights(model, split=split)
        with torch.inference_mode():
            found.append(model(IDS).logits)
    assert torch.equal(*found)


def test_only_float32_weights_are_packed_and_only_where_that_is_right(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    half: Any = random_model("llama").to(torch.bfloat16)
    pack_weights(half)
    right = products._product
    for wrong in (lambda *given: right(*given) + 1e-3, lambda *_: torch.ops.mkldnn.no_such_thing()):
        products._packs.cache_clear()
        monkeypatch.setattr(products, "_product", wrong)
        model: Any = random_model("llama")
        pack_weights(model)
        assert not any(isinstance(module, PackedLinear) for module in [*model.modules(), *half.modules()])
    products._packs.cache_clear()
