"""A key-value cache that is written in place, and in groups of rows that are about equally long."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from knowtuning.attention import Decoding


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

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        """Keep the rows at `indices`, in their order; only those that change their place are copied."""
        end, rows = self.get_seq_length(), len(indices)
        places = (indices != torch.arange(rows, device=indices.device)).nonzero()[:, 0]
        for number, store in enumerate(self._stores):
            if len(places):
                store[places, :, :end] = store[indices[places], :, :end]
            self._stores[number] = store[:rows]
        self._see(end)

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return len(self._stores[0])

    def place(self, part: Part, states: tuple[torch.Tensor, torch.Tensor]) -> None:
        """Put prompts into their rows; states: keys and values of a pass, (b, heads, t, width).

        The first ones make the rows. Those are zero where there is padding: masked tokens count nothing, but
        nothing times nan is nan.
        """
        if not self.is_initialized:
            self.lazy_initialization(*states)
            self._stores = [self._store(found, part.size) for found in states]
            for store in self._stores:
                store[..., : part.tokens, :] = 0
            self._see(part.tokens)
        for store, found in zip(self._stores, states, strict=True):
            start = part.tokens - part.cells.shape[1]
            cells = _cells(found, part.cells.flatten())
            cells = cells.view(*part.cells.shape, *cells.shape[1:])
            store[part.rows, :, start : part.tokens] = cells.transpose(1, 2)

    def _store(self, states: torch.Tensor, rows: int) -> torch.Tensor:
        """Room for the tokens of so many rows, not yet written."""
        return states.new_empty((rows, *states.shape[1:-2], self._room, states.shape[-1]))

    def _see(self, end: int) -> tuple[torch.Tensor, torch.Tensor]:
        self.keys, self.values = (store[..., :end, :] for store in self._stores)
        return self.keys, self.values


@dataclass(frozen=True)
class Part:
    """Prompts of a pass that belong to one group of rows.

    size, tokens: rows of the group, and tokens of each before its answer. rows: (prompts,), where in the
    group they belong. cells: (prompts, tokens), which of the tokens of the pass they consist of, counted
    through and padded on the left with any.
    """

    size: int
    tokens: int
    rows: torch.Tensor
    cells: torch.Tensor


class GroupedLayer(DynamicLayer):  # type: ignore[no-untyped-call]
    """Keys and values of one layer: of what all rows begin with, and of what follows, a group at a time.

    Attention finds them in `decoding`.
    """

    def __init__(self, groups: Sequence[InPlaceLayer], decoding: Decoding) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.groups, self._decoding = list(groups), decoding
        self.opening: tuple[torch.Tensor, torch.Tensor]

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append a token to each row of each group; returns those tokens alone."""
        start = 0
        self._decoding.opening, self._decoding.states = self.opening, []
        for group in self.groups:
            rows = slice(start, start + group.rows)
            self._decoding.states.append(group.update(key_states[rows], value_states[rows]))
            start = rows.stop
        return key_states, value_states


class PromptLayer(DynamicLayer):  # type: ignore[no-untyped-call]
    """Hands on the tokens of a pass over prompts, and leaves each prompt in its row of a layer.

    opening: cells of the pass, (tokens,), that go to the layer's opening.
    """

    def __init__(self, layer: GroupedLayer, opening: torch.Tensor, parts: Sequence[Part | None]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._layer, self._opening, self._parts = layer, opening, parts

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The tokens of this pass, which see nothing else."""
        states = (key_states, value_states)
        keys, values = (_cells(found, self._opening).transpose(0, 1).contiguous() for found in states)
        self._layer.opening = keys, values
        for group, part in zip(self._layer.groups, self._parts, strict=True):
            if part is not None:
                group.place(part, states)
        return states


def _cells(states: torch.Tensor, cells: torch.Tensor) -> torch.Tensor:
    """Of the tokens of a pass, (b, heads, t, width), counted through, those at `cells`: (n, heads, width)."""
    return states.transpose(1, 2).flatten(0, 1).index_select(0, cells)


def cache_of(layers: Sequence[DynamicLayer]) -> DynamicCache:
    """A cache of given layers."""
    cache = DynamicCache()
    cache.layers = list(layers)
    return cache


def in_place(cache: DynamicCache) -> bool:
    """Whether all layers of a cache are written in place."""
    return all(isinstance(layer, InPlaceLayer) for layer in cache.layers)


def cache_for(model: Any, room: int) -> DynamicCache:
    """An empty cache of a model for `room` tokens a row; layers that forget tokens stay as they are."""
    cache = DynamicCache(config=model.config)
    cache.layers = [InPlaceLayer(room) if type(layer) is DynamicLayer else layer for layer in cache.layers]
    return cache
