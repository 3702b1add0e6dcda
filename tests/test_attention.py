"""Attention by products against torch's fused attention: values, gradients, masks, and when it is used."""

from __future__ import annotations

import types
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from knowtuning import attention
from knowtuning.attention import LONGEST, Decoding, Pieces, attend, fit_attention, fitted
from knowtuning.packing import Layout, Tree, lay_out

ROWS, HEADS, TOKENS, WIDTH = 3, 4, 7, 8
HALF = torch.bfloat16


def module(heads: int, *, causal: bool = True) -> Any:
    """What an attention function is told of its layer."""
    return types.SimpleNamespace(num_key_value_groups=HEADS // heads, is_causal=causal, training=True)


def masks() -> dict[str, torch.Tensor | None]:
    seen = torch.ones(ROWS, 1, TOKENS, TOKENS, dtype=torch.bool).tril()
    seen[1, :, 4:, :2] = False
    least = torch.finfo(torch.float32).min
    return {"none": None, "seen": seen, "added": torch.zeros(seen.shape).masked_fill(~seen, least)}


@pytest.mark.parametrize("mask", ["none", "seen", "added"])
@pytest.mark.parametrize("heads", [HEADS, 2])
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_it_computes_what_the_fused_one_does(mask: str, heads: int, causal: bool, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    shapes = [(ROWS, HEADS, TOKENS, WIDTH), *[(ROWS, heads, TOKENS, WIDTH)] * 2]
    start = [torch.randn(shape) for shape in shapes]
    wanted, layer = torch.randn(ROWS, TOKENS, HEADS, WIDTH), module(heads, causal=causal)

    def run(call: Any, dtype: torch.dtype) -> list[torch.Tensor]:
        inputs = [tensor.to(dtype).requires_grad_() for tensor in start]
        added = masks()[mask]
        if added is not None and added.dtype != torch.bool and call is sdpa_attention_forward:
            added = added.to(dtype)
        out, weights = call(layer, *inputs, added, scaling=0.3)
        assert weights is None
        out.backward(wanted.to(dtype))
        return [out.detach().float(), *(tensor.grad.float() for tensor in inputs)]

    # 8 bits of bfloat16: numbers of about 1 are right to 2^-8, sums of a few of them to a few times that.
    near = 1e-5 if dtype == torch.float32 else 0.05
    for found, expected in zip(run(attend, dtype), run(sdpa_attention_forward, torch.float32), strict=True):
        assert torch.isfinite(found).all()
        torch.testing.assert_close(found, expected, rtol=near, atol=near)


def test_long_rows_and_float32_are_left_to_the_fused_one(monkeypatch: pytest.MonkeyPatch) -> None:
    called = []

    def fused(*args: Any, **_: Any) -> tuple[torch.Tensor, None]:
        called.append((args[1].shape[2], args[1].dtype))
        return args[1].transpose(1, 2), None

    monkeypatch.setattr("knowtuning.attention.sdpa_attention_forward", fused)
    for tokens, dtype in ((LONGEST, HALF), (LONGEST + 1, HALF), (5, torch.float32)):
        states = torch.randn(1, 1, tokens, 2, dtype=dtype)
        attend(module(HEADS), states, states, states, None)
    assert called == [(LONGEST + 1, HALF), (5, torch.float32)]


@pytest.mark.parametrize("heads", [HEADS, 2])
@pytest.mark.parametrize("mask", ["none", "seen", "added"])
def test_one_token_behind_a_cache(mask: str, heads: int) -> None:
    torch.manual_seed(0)
    query, seen = torch.randn(ROWS, HEADS, 1, WIDTH), masks()[mask]
    keys, values = torch.randn(2, ROWS, heads, TOKENS, WIDTH)
    last = seen[:, :, -1:] if seen is not None else None
    expected, _ = sdpa_attention_forward(module(heads), query, keys, values, last, scaling=0.3)
    found, _ = attend(module(heads), query, keys, values, last, scaling=0.3)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, HALF])
@pytest.mark.parametrize("heads", [HEADS, 2])
@pytest.mark.parametrize("opening", [0, 5])
@pytest.mark.parametrize("store", ["contiguous", "longer", "cut off in front", "tokens first"])
def test_rows_in_groups_behind_one_opening(
    monkeypatch: pytest.MonkeyPatch, store: str, opening: int, heads: int, dtype: torch.dtype
) -> None:
    """Against the fused one, to which each row brings the opening, and its padding a mask, of its own."""
    monkeypatch.setattr("knowtuning.attention._OUTSIDE", 0)
    summed = []
    plain = attention.embedding_bag
    monkeypatch.setattr(
        attention, "embedding_bag", lambda *found, **given: summed.append(1) or plain(*found, **given)
    )
    torch.manual_seed(0)
    lengths, least = [[7, 4, 6], [2], [3, 3]], torch.finfo(dtype).min
    query = torch.randn(sum(map(len, lengths)), HEADS, 1, WIDTH).to(dtype)
    first = torch.randn(2, heads, opening, WIDTH).to(dtype)
    states, masks, expected, start = [], [], [], 0
    for group in lengths:
        rows, tokens = len(group), max(group)
        if store == "tokens first":
            own = torch.randn(2, rows, tokens, heads, WIDTH).to(dtype).transpose(2, 3)
        else:
            more, cut = 3 * (store != "contiguous"), 3 * (store == "cut off in front")
            own = torch.randn(2, rows, heads, tokens + more, WIDTH).to(dtype)[..., cut : cut + tokens, :]
        padding = torch.arange(tokens) < torch.tensor([[tokens - length] for length in group])
        added = torch.zeros(rows, 1, 1, tokens, dtype=dtype).masked_fill(padding[:, None, None], least)
        states.append((own[0], own[1]))
        masks.append(added[..., : tokens - min(group)])
        keys, values = torch.cat([first[:, None].expand(2, rows, heads, opening, WIDTH), own], dim=3)
        mask = torch.cat([added.new_zeros(rows, 1, 1, opening), added], dim=-1)
        asked = query[start : start + rows]
        expected.append(sdpa_attention_forward(module(heads), asked, keys, values, mask, scaling=0.3)[0])
        start += rows
    decoding = Decoding(masks)
    decoding.opening, decoding.states = (first[0], first[1]), states
    found, _ = attend(module(heads), query, query, query, None, scaling=0.3, pieces=decoding)
    assert bool(summed) == (dtype == torch.float32 and store in ("contiguous", "longer"))
    near = 1e-5 if dtype == torch.float32 else 0.05
    torch.testing.assert_close(found, torch.cat(expected), rtol=near, atol=near)


@pytest.mark.parametrize("longest", [LONGEST, 2])
@pytest.mark.parametrize("heads", [HEADS, 2])
@pytest.mark.parametrize("even", [False, True])
def test_pieces_are_a_mask(monkeypatch: pytest.MonkeyPatch, even: bool, heads: int, longest: int) -> None:
    monkeypatch.setattr(
        "knowtuning.attention.LONGEST", longest
    )  # beyond it the fused one computes pieces too
    trees = [
        Tree((1, 2, 3, 4), ((5, 6), (7,), (8, 9, 10))),
        Tree((1, 2, 9), ((4, 4, 4, 4, 4),)),
        Tree((1, 2), ((3,), (4, 5))),  # its prompt is the opening
    ]
    batch = lay_out(trees, Layout.single(trees, even=even))
    tokens = batch.input_ids.shape[1]
    torch.manual_seed(0)
    start = [torch.randn(1, count, tokens, WIDTH) for count in (HEADS, heads, heads)]
    wanted, found = torch.randn(1, tokens, HEADS, WIDTH), []
    for pieces, mask in ((Pieces(batch), None), (None, batch.mask(torch.float32))):
        inputs = [tensor.clone().requires_grad_() for tensor in start]
        out, _ = attend(module(heads), *inputs, mask, scaling=0.3, pieces=pieces)
        out.backward(wanted)
        found.append([out.detach(), *(tensor.grad for tensor in inputs)])
    torch.testing.assert_close(found[0], found[1], rtol=1e-5, atol=1e-5)


def llama() -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=31, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4
    )
    return LlamaForCausalLM(config).eval()


def test_a_fitted_model_is_causal_with_no_mask_of_its_own() -> None:
    model, ids = llama(), torch.tensor([[3, 8, 1, 30, 2], [7, 7, 9, 4, 5]])
    plain = model(ids, labels=ids).loss
    fit_attention(model)
    assert fitted(model)
    torch.testing.assert_close(model(ids, labels=ids).loss, plain, rtol=1e-5, atol=1e-5)
    changed = ids.clone()
    changed[:, -1] = 0
    with torch.autocast("cpu", HALF):
        half = model(ids)
        assert torch.equal(half.logits[:, :-1], model(changed).logits[:, :-1])
    torch.testing.assert_close(half.logits.float(), model(ids).logits, rtol=0, atol=0.05)


def test_a_model_with_attention_of_its_own_keeps_it() -> None:
    model = llama()
    model.set_attn_implementation("eager")
    fit_attention(model)
    assert not fitted(model)
