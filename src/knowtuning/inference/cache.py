"""A key-value cache that is written in place."""

from __future__ import annotations

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
            self._stores = [self._store(states) for states in (key_states, value_states)]
        for store, states in zip(self._stores, (key_states, value_states), strict=True):
            store[..., start:end, :] = states
        return self._see(end)

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        """Keep the rows at `indices`; unused room is not copied."""
        end = self.get_seq_length()
        for number, store in enumerate(self._stores):
            kept = store[indices, :, :end]
            self._stores[number] = self._store(kept)
            self._stores[number][..., :end, :] = kept
        self._see(end)

    def _store(self, states: torch.Tensor) -> torch.Tensor:
        return states.new_empty((*states.shape[:-2], self._room, states.shape[-1]))

    def _see(self, end: int) -> tuple[torch.Tensor, torch.Tensor]:
        self.keys, self.values = (store[..., :end, :] for store in self._stores)
        return self.keys, self.values


def cache_for(model: Any, room: int) -> DynamicCache:
    """An empty cache of a model for `room` tokens a row; layers that forget tokens stay as they are."""
    cache = DynamicCache(config=model.config)
    cache.layers = [InPlaceLayer(room) if type(layer) is DynamicLayer else layer for layer in cache.layers]
    return cache
