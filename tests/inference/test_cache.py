"""The cache that is written in place against the one of transformers, which copies."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers.cache_utils import DynamicLayer

from knowtuning.inference.cache import InPlaceLayer, cache_for, opened

# How many tokens come at a time, and before each which rows stay (by their bits; none: all).
steps = st.lists(st.tuples(st.integers(0, 15), st.integers(1, 4)), min_size=1, max_size=6)


@given(steps=steps, seed=st.integers(0, 100))
def test_it_holds_what_the_copying_one_holds(steps: list[tuple[int, int]], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    copying, in_place = DynamicLayer(), InPlaceLayer(sum(count for _, count in steps))
    rows = 4
    for bits, count in steps:
        kept = [row for row in range(rows) if bits >> row & 1]
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


def test_caches_of_some_rows_become_one() -> None:
    torch.manual_seed(0)
    short, long = InPlaceLayer(2), InPlaceLayer(5)
    few, many = torch.randn(2, 1, 3, 2, 5), torch.randn(2, 2, 3, 5, 5)
    short.update(*few)
    long.update(*many)
    both = InPlaceLayer(7)
    both.adopt([([0, 2], long), ([1], short)], rows=3, opening=0)
    token = torch.randn(2, 3, 3, 1, 5)
    for found, one, other, new in zip(both.update(*token), few, many, token, strict=True):
        assert torch.equal(found[[0, 2], :, :5], other)
        assert torch.equal(found[1, :, 3:5], one[0])
        assert torch.equal(found[1, :, :3], torch.zeros(3, 3, 5))
        assert torch.equal(found[:, :, 5:], new)


def test_caches_that_open_alike_become_one_with_padding_behind_the_opening() -> None:
    torch.manual_seed(0)
    opening, short, long = InPlaceLayer(2), InPlaceLayer(3), InPlaceLayer(6)
    head, few, many = torch.randn(2, 1, 3, 2, 5), torch.randn(2, 1, 3, 1, 5), torch.randn(2, 2, 3, 4, 5)
    opening.update(*head)
    for layer, rows, own in ((short, 1, few), (long, 2, many)):
        layer.open(opening, rows)
        layer.update(*own)
    both = InPlaceLayer(7)
    both.adopt([([0, 2], long), ([1], short)], rows=3, opening=2)
    token = torch.randn(2, 3, 3, 1, 5)
    for found, first, one, other, new in zip(both.update(*token), head, few, many, token, strict=True):
        assert torch.equal(found[:, :, :2], first.expand(3, -1, -1, -1))
        assert torch.equal(found[[0, 2], :, 2:6], other)
        assert torch.equal(found[1, :, 2:5], torch.zeros(3, 3, 5))
        assert torch.equal(found[1, :, 5:6], one[0])
        assert torch.equal(found[:, :, 6:], new)


def test_without_an_opening_a_cache_is_empty() -> None:
    from transformers import LlamaConfig

    class Model:
        config = LlamaConfig(num_hidden_layers=2)

    assert opened(Model(), None, rows=3, room=4).get_seq_length() == 0
