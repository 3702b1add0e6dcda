"""The cache that is written in place against the one of transformers, which copies."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers.cache_utils import DynamicLayer

from knowtuning.attention import Decoding
from knowtuning.inference.cache import GroupedLayer, InPlaceLayer, Part, PromptLayer, cache_for

# How many tokens come at a time, and before each which rows stay (by their bits; none: all).
steps = st.lists(st.tuples(st.integers(0, 15), st.integers(1, 4)), min_size=1, max_size=6)


@given(steps=steps, seed=st.integers(0, 100))
def test_it_holds_what_the_copying_one_holds(steps: list[tuple[int, int]], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    copying, in_place = DynamicLayer(), InPlaceLayer(sum(count for _, count in steps))
    rows = 4
    for bits, count in steps:
        kept = [row for row in range(rows) if bits >> row & 1][:: -1 if count % 2 else 1]
        if kept and in_place.get_seq_length():
            for layer in (copying, in_place):
                layer.batch_select_indices(torch.tensor(kept))
            rows = len(kept)
        keys, values = torch.randn(2, rows, 3, count, 5, generator=generator)
        for found, expected in zip(in_place.update(keys, values), copying.update(keys, values), strict=True):
            assert torch.equal(found, expected)
        assert in_place.get_seq_length() == copying.get_seq_length()
        assert in_place.get_mask_sizes(1) == copying.get_mask_sizes(1)


def test_layers_that_forget_tokens_stay_as_they_are() -> None:
    from transformers import Gemma2Config

    class Model:
        config = Gemma2Config(num_hidden_layers=2, sliding_window=4)

    kinds = [type(layer).__name__ for layer in cache_for(Model(), 9).layers]
    assert sorted(kinds) == ["DynamicSlidingWindowLayer", "InPlaceLayer"]


def test_prompts_of_a_pass_go_to_their_rows_of_their_group() -> None:
    torch.manual_seed(0)
    groups, decoding = [InPlaceLayer(7), InPlaceLayer(4)], Decoding([])
    layer = GroupedLayer(groups, decoding)
    # A group of two rows of up to 5 tokens and one of a row of 3, filled by two passes of (b, t) cells.
    first, second = torch.randn(2, 1, 3, 6, 5), torch.randn(2, 2, 3, 2, 5)
    one, other = torch.tensor([[0, 1, 2, 4, 5]]), torch.tensor([[0, 3]])
    opening = torch.tensor([1, 2])
    PromptLayer(layer, opening, [Part(2, 5, torch.tensor([1]), one), None]).update(*first)
    parts = [Part(2, 5, torch.tensor([0]), other), Part(1, 3, torch.tensor([0]), torch.tensor([[1, 2, 3]]))]
    cells = PromptLayer(layer, opening, parts)
    assert cells.get_seq_length() == 0
    for found, own in zip(cells.update(*second), second, strict=True):
        assert torch.equal(found, own)  # a pass sees itself alone
    token = torch.randn(2, 3, 3, 1, 5)
    layer.update(*token)
    (long, short), flat = decoding.states, second.transpose(2, 3).flatten(1, 2)
    for kind in range(2):
        assert torch.equal(decoding.opening[kind].transpose(0, 1), flat[kind][1:3])
        assert torch.equal(long[kind][1, :, :5], first[kind][0][:, one[0]])
        assert torch.equal(long[kind][0, :, 3:5].transpose(0, 1), flat[kind][other[0]])
        assert torch.equal(long[kind][0, :, :3], torch.zeros(3, 3, 5))
        assert torch.equal(short[kind][0, :, :3].transpose(0, 1), flat[kind][1:4])
        assert torch.equal(torch.cat([long[kind][:, :, 5:], short[kind][:, :, 3:]]), token[kind])
