"""Rows that are decoded together: how their prompts are read, and where their keys and values lie."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from knowtuning.batching import left_padded
from knowtuning.likelihood import Likelihood, predicting_states
from knowtuning.packing import Layout, Tree, bare, common, lay_out, passes, prompt_cells

if TYPE_CHECKING:
    import torch

    from knowtuning.inference.cache import Part

# Tokens of prompts that are read in a pass.
_READ = 8192
# What another group of rows costs, in the bytes of keys and values that padding may add to a layer instead.
_GROUP = 2**19


class Rows:
    """Rows that are decoded together: the numbers of their prompts, and the logits of the last step."""

    def __init__(self, model: Any, rows: Sequence[int]) -> None:
        self.rows = list(rows)
        self._model = model
        self._cache: Any
        self._positions: torch.Tensor
        self.logits: torch.Tensor

    def next_tokens(self) -> torch.Tensor:
        """The most probable next token of each row, (rows,); the first of equals."""
        tokens: torch.Tensor = self.logits.argmax(dim=-1)
        return tokens

    def feed(self, tokens: torch.Tensor) -> None:
        """Append a token to each row."""
        self._positions = self._positions + 1
        self.logits = self._forward(tokens[:, None], self._positions)

    def keep(self, places: Sequence[int]) -> torch.Tensor:
        """Drop all rows but those at `places` (in order); returns where the rows that stay were."""
        import torch

        order = self._drop(places)
        index = torch.tensor(order, device=self._positions.device)
        self.rows = [self.rows[place] for place in order]
        self._positions = self._positions[index]
        return index

    def _drop(self, places: Sequence[int]) -> list[int]:
        """The same for cache and masks."""
        raise NotImplementedError

    def _seen(self) -> dict[str, Any]:
        """Arguments that tell the model who sees what at the next step."""
        raise NotImplementedError

    def _forward(self, ids: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """Logits after the last token of each row; the tokens are added to the cache."""
        logits: torch.Tensor = self._model(
            input_ids=ids,
            position_ids=positions,
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=1,
            **self._seen(),
        ).logits[:, -1]
        return logits


class PaddedRows(Rows):
    """A row holds its prompt, padded on the left, and what has been fed; any model can do so."""

    def __init__(self, model: Any, prompts: Sequence[Sequence[int]], new_tokens: int, pad: int) -> None:
        import torch

        from knowtuning.inference.cache import cache_for

        super().__init__(model, range(len(prompts)))
        ids, own = (tensor.to(model.device) for tensor in left_padded(prompts, pad))
        self._cache = cache_for(model, ids.shape[1] + new_tokens)
        self._mask = torch.cat([own, own.new_ones(len(own), new_tokens)], dim=1)
        positions = (own.cumsum(dim=1) - 1).clamp(min=0)
        self._positions = positions[:, -1:]
        self._fed = ids.shape[1]
        self.logits = self._forward(ids, positions)

    def feed(self, tokens: torch.Tensor) -> None:
        self._fed += 1
        super().feed(tokens)

    def _drop(self, places: Sequence[int]) -> list[int]:
        import torch

        order = moved_up(places)
        index = torch.tensor(order, device=self._mask.device)
        self._cache.batch_select_indices(index)
        self._mask = self._mask[index]
        return order

    def _seen(self) -> dict[str, Any]:
        return {"attention_mask": self._mask[:, : self._fed]}


class GroupedRows(Rows):
    """Prompts are read without padding, as trees, and then lie in groups of rows, each with its own padding.

    For models that compute trees exactly. groups: the numbers of the prompts of each.
    decoding: whether attention takes what all prompts begin with once, and one group after the other; if not,
    there is one group.
    """

    def __init__(
        self,
        likelihood: Likelihood,
        prompts: Sequence[Sequence[int]],
        new_tokens: int,
        groups: Sequence[Sequence[int]],
        *,
        decoding: bool,
    ) -> None:
        import torch

        from knowtuning.attention import Decoding
        from knowtuning.inference.cache import GroupedLayer, InPlaceLayer, cache_for, cache_of

        model: Any = likelihood.model
        super().__init__(model, [row for group in groups for row in group])
        # A row holds at least the last token of its prompt.
        self._opening = min(common(prompts), min(map(len, prompts)) - 1) if decoding else 0
        lengths = [[len(prompts[row]) - self._opening for row in group] for group in groups]
        self._sizes = [(len(group), max(group)) for group in lengths]
        widths = [max(group) - min(group) if decoding else max(group) + new_tokens for group in lengths]
        masks = [_mask(group, width, model) for group, width in zip(lengths, widths, strict=True)]
        self._decoding = Decoding(masks)
        self._layers = [
            GroupedLayer([InPlaceLayer(tokens + new_tokens) for _, tokens in self._sizes], self._decoding)
            for _ in cache_for(model, 1).layers
        ]
        self._cache = cache_of(self._layers if decoding else [layer.groups[0] for layer in self._layers])
        self._in_groups = decoding
        self._positions = torch.tensor([[len(prompts[row]) - 1] for row in self.rows], device=model.device)
        self.logits = self._read([tuple(prompts[row]) for row in self.rows], likelihood)

    def _read(self, prompts: Sequence[tuple[int, ...]], likelihood: Likelihood) -> torch.Tensor:
        """Logits after each prompt, (rows, vocabulary); the prompts are put into the cache."""
        import torch

        from knowtuning.inference.cache import PromptLayer, cache_of

        device, states = self._model.device, None
        for rows, trees, layout in readings(prompts, likelihood):
            cells = prompt_cells(trees, layout)
            opening = torch.tensor(cells[0][: self._opening], dtype=torch.long, device=device)
            parts = self._parts(rows, [own[self._opening :] for own in cells])
            cache = cache_of([PromptLayer(layer, opening, parts) for layer in self._layers])
            found = predicting_states(self._model, lay_out(trees, layout).to(device), cache)
            states = found.new_empty(len(prompts), found.shape[-1]) if states is None else states
            states[rows] = found
        logits: torch.Tensor = self._model.get_output_embeddings()(states)
        return logits

    def _parts(self, rows: Sequence[int], cells: Sequence[Sequence[int]]) -> list[Part | None]:
        """For each group which cells of a pass go to which of its rows."""
        import torch

        from knowtuning.inference.cache import Part

        device, parts, start = self._model.device, [], 0
        for size, tokens in self._sizes:
            mine = [place for place, row in enumerate(rows) if start <= row < start + size]
            part = None
            if mine:
                where = torch.tensor([rows[place] - start for place in mine], device=device)
                index, _ = left_padded([cells[place] for place in mine], 0)
                part = Part(size, tokens, where, index.to(device))
            parts.append(part)
            start += size
        return parts

    def _drop(self, places: Sequence[int]) -> list[int]:
        import torch

        order, start, left = [], 0, []
        for number, mask in enumerate(self._decoding.masks):
            mine = moved_up([place - start for place in places if start <= place < start + len(mask)])
            order += [start + place for place in mine]
            start += len(mask)
            if not mine:
                continue
            left.append(number)
            index = torch.tensor(mine, device=mask.device)
            self._decoding.masks[number] = mask[index]
            for layer in self._layers:
                layer.groups[number].batch_select_indices(index)
        self._decoding.masks = [self._decoding.masks[number] for number in left]
        for layer in self._layers:
            layer.groups = [layer.groups[number] for number in left]
        return order

    def _seen(self) -> dict[str, Any]:
        import torch

        if not self._in_groups:
            # With the token that is about to be fed.
            tokens = self._layers[0].groups[0].get_seq_length() + 1
            return {"attention_mask": self._decoding.masks[0][..., :tokens]}
        # Models hand a mask of four dimensions on as it is; without one they would make their own.
        return {"attention_mask": torch.zeros(1, 1, 1, 1), "pieces": self._decoding}


def _mask(lengths: Sequence[int], width: int, model: Any) -> torch.Tensor:
    """(rows, 1, 1, width), added to scores: the least number at the padding before a row."""
    import torch

    padding = torch.arange(width) < torch.tensor([[max(lengths) - length] for length in lengths])
    mask = torch.zeros(padding.shape, dtype=model.dtype).masked_fill_(padding, torch.finfo(model.dtype).min)
    return mask[:, None, None].to(model.device)


def row_groups(lengths: Sequence[int], size: int) -> list[list[int]]:
    """Numbers of rows in groups of like length, the longest first.

    size: bytes that a token takes in a layer of the cache; a group ends where padding would cost more than
    another group.
    """
    groups: list[list[int]] = []
    padding = 0
    for row in sorted(range(len(lengths)), key=lambda row: (-lengths[row], row)):
        padding += size * (lengths[groups[-1][0]] - lengths[row]) if groups else 0
        if groups and padding <= _GROUP:
            groups[-1].append(row)
        else:
            groups.append([row])
            padding = 0
    return groups


def readings(
    prompts: Sequence[tuple[int, ...]], likelihood: Likelihood
) -> Iterator[tuple[list[int], list[Tree], Layout]]:
    """The passes that read all prompts: which they are, and how they are laid out."""
    trees = list(map(bare, prompts))
    for rows in passes(trees, _READ):
        chosen = [trees[row] for row in rows]
        yield rows, chosen, likelihood.layout(chosen)


def moved_up(places: Sequence[int]) -> list[int]:
    """`places` (in order) so that as many as can stay where they are: the last take the places between."""
    stay = [place for place in places if place < len(places)]
    free = sorted(set(range(len(places))).difference(stay))
    found = dict(zip([*stay, *free], places, strict=True))
    return [found[place] for place in range(len(places))]
