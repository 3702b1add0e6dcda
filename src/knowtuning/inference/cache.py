"""A key-value cache that is written in place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer


class InPlaceLayer(DynamicLayer):  # type: ignore[no-untyped-call]
    """Keys and values of one layer, (rows, heads, tokens, width), with room for `room` tokens from the start.

    The layer of transformers copies all of them at every token.
    """

    def __init__(self, room: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._room = room
        self._stores: list[torch.Tensor] = []

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append tokens; returns all keys and values."""
        start = self.get_seq_length()
        end = start + key_states.shape[-2]
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            self._stores = [self._store(states, len(states)) for states in (key_states, value_states)]
        for store, states in zip(self._stores, (key_states, value_states), strict=True):
            store[..., start:end, :] = states
        return self._see(end)

    def open(self, other: Any, rows: int) -> None:
        """Start each of so many rows with the tokens of another layer, which holds one row."""
        self.lazy_initialization(other.keys, other.values)
        self._stores = [self._store(states, rows) for states in (other.keys, other.values)]
        for store, states in zip(self._stores, (other.keys, other.values), strict=True):
            store[..., : states.shape[-2], :] = states
        self._see(other.get_seq_length())

    def adopt(self, parts: Sequence[tuple[list[int], Any]], rows: int, opening: int) -> None:
        """Hold what other layers hold, each of some rows, padded behind their first `opening` tokens."""
        _, first = parts[0]
        self.lazy_initialization(first.keys, first.values)
        end = max(layer.get_seq_length() for _, layer in parts)
        self._stores = [self._store(states, rows) for states in (first.keys, first.values)]
        for store in self._stores:
            # Where there is padding: masked places count nothing, but nothing times nan is nan.
            store[..., :end, :] = 0
        for places, layer in parts:
            start = end - layer.get_seq_length() + opening
            for store, states in zip(self._stores, (layer.keys, layer.values), strict=True):
                store[places, :, :opening] = states[..., :opening, :]
                store[places, :, start:end] = states[..., opening:, :]
        self._see(end)

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        """Keep the rows at `indices`; unused room is not copied."""
        end = self.get_seq_length()
        for number, store in enumerate(self._stores):
            kept = store[indices, :, :end]
            self._stores[number] = self._store(kept, len(kept))
            self._stores[number][..., :end, :] = kept
        self._see(end)

    def _store(self, states: torch.Tensor, rows: int) -> torch.Tensor:
        """Room for the tokens of so many rows, not yet written."""
        return states.new_empty((rows, *states.shape[1:-2], self._room, states.shape[-1]))

    def _see(self, end: int) -> tuple[torch.Tensor, torch.Tensor]:
        self.keys, self.values = (store[..., :end, :] for store in self._stores)
        return self.keys, self.values


def opened(model: Any, opening: DynamicCache | None, rows: int, room: int) -> DynamicCache:
    """A cache with `room` tokens a row; each row starts with the tokens of `opening`, a cache of one row."""
    cache = cache_for(model, room)
    if opening is not None:
        for layer, first in zip(cache.layers, opening.layers, strict=True):
            assert isinstance(layer, InPlaceLayer)
            layer.open(first, rows)
    return cache


def joined(
    model: Any, parts: Sequence[tuple[list[int], DynamicCache]], rows: int, room: int, opening: int
) -> DynamicCache:
    """One cache with `room` tokens a row from caches of some of the rows each; see InPlaceLayer.adopt."""
    cache = cache_for(model, room)
    for number, layer in enumerate(cache.layers):
        assert isinstance(layer, InPlaceLayer)
        layer.adopt([(places, part.layers[number]) for places, part in parts], rows, opening)
    return cache


def in_place(cache: DynamicCache) -> bool:
    """Whether all layers of a cache are of the kind that can be joined."""
    return all(isinstance(layer, InPlaceLayer) for layer in cache.layers)


def cache_for(model: Any, room: int) -> DynamicCache:
    """An empty cache of a model for `room` tokens a row; layers that forget tokens stay as they are."""
    cache = DynamicCache(config=model.config)
    cache.layers = [InPlaceLayer(room) if type(layer) is DynamicLayer else layer for layer in cache.layers]
    return cache
