"""Greedy decoding of a batch of prompts: the arg max of each step, until every answer has ended.

What `generate` of transformers does with do_sample=False, without its generality: a generation config cannot
change the answers (some models ship a repetition penalty), a step costs less Python, and answers that have
ended leave the batch instead of being padded until the longest one ends.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from knowtuning.packing import common

if TYPE_CHECKING:
    import torch

# Ended answers leave the batch when they are this share of it: leaving copies the cache.
_LEAVE = 0.05
# Prompts are read in groups with at most this share of padding.
_PADDING = 0.05
# Tokens that all prompts open with are read once where they are at least so many: it takes one more pass.
_OPENING = 8


def greedy(
    model: Any, prompts: Sequence[Sequence[int]], *, new_tokens: int, eos: int, pad: int
) -> list[list[int]]:
    """The continuation of each prompt (token ids), without EOS; one that does not end has `new_tokens`.

    model: a decoder with a key-value cache. Prompts are padded on the left, padding is masked and positions
    start at a prompt's first token, so that an answer depends on its prompt alone (but for ties of rounding).
    """
    import torch

    answers: list[list[int]] = [[] for _ in prompts]
    ended = [False] * len(prompts)
    with torch.inference_mode():
        batch = _Batch(model, prompts, new_tokens, pad)
        for step in range(new_tokens):
            tokens = batch.next_tokens()
            for row, token in zip(batch.rows, tokens.tolist(), strict=True):
                ended[row] = ended[row] or token == eos
                if not ended[row]:
                    answers[row].append(token)
            going = [place for place, row in enumerate(batch.rows) if not ended[row]]
            if not going or step == new_tokens - 1:
                break
            if len(batch.rows) - len(going) >= _LEAVE * len(batch.rows):
                tokens = tokens[batch.keep(going)]
            batch.feed(tokens)
    return answers


def left_padded(prompts: Sequence[Sequence[int]], pad: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and attention mask (1 where there is a token), both (prompts, longest)."""
    import torch

    width = max(map(len, prompts))
    ids = torch.tensor([[pad] * (width - len(prompt)) + [*prompt] for prompt in prompts])
    mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    return ids, mask


def alike(lengths: Sequence[int]) -> list[list[int]]:
    """Indices in groups of similar length, longest first, with little padding in each."""
    groups: list[list[int]] = []
    longest, tokens = 0, 0
    for index in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        tokens += lengths[index]
        if groups and longest * (len(groups[-1]) + 1) <= (1 + _PADDING) * tokens:
            groups[-1].append(index)
        else:
            groups.append([index])
            longest = tokens = lengths[index]
    return groups


def shared_opening(prompts: Sequence[Sequence[int]]) -> int:
    """How many tokens that all prompts open with are worth reading once; each prompt keeps at least one."""
    opening = min(common(prompts), min(map(len, prompts)) - 1)
    return opening if len(prompts) > 1 and opening >= _OPENING else 0


class _Batch:
    """Rows that are decoded together: their cache, mask and positions, and the logits of the last step.

    A row of the cache holds the opening of all prompts, padding, and the rest of its prompt.
    """

    def __init__(self, model: Any, prompts: Sequence[Sequence[int]], new_tokens: int, pad: int) -> None:
        import torch

        from knowtuning.inference.cache import cache_for, in_place, joined, opened

        self._model = model
        self.rows = list(range(len(prompts)))
        joins = in_place(cache_for(model, 1))
        opening = shared_opening(prompts) if joins else 0
        first = self._read_opening(prompts[0][:opening]) if opening else None
        padded = left_padded([prompt[opening:] for prompt in prompts], pad)
        ids, own = (tensor.to(model.device) for tensor in padded)
        self._mask = torch.cat([own.new_ones(len(own), opening), own], dim=1)
        positions = (self._mask.cumsum(dim=1) - 1).clamp(min=0)[:, opening:]
        self._positions = positions[:, -1:]
        room = self._mask.shape[1] + new_tokens
        groups = alike(own.sum(dim=1).tolist()) if joins else [self.rows]
        if len(groups) == 1:
            self._cache = opened(model, first, len(ids), room)
            self._logits = self._forward(ids, self._mask, positions, self._cache)
            return
        parts, logits = [], []
        for group in groups:
            width = int(own[group].sum(dim=1).max())
            part = opened(model, first, len(group), opening + width)
            seen = torch.cat([self._mask[group, :opening], own[group, -width:]], dim=1)
            logits.append(self._forward(ids[group, -width:], seen, positions[group, -width:], part))
            parts.append((group, part))
        self._cache = joined(model, parts, len(ids), room, opening)
        self._logits = logits[0].new_empty((len(ids), logits[0].shape[-1]))
        for group, found in zip(groups, logits, strict=True):
            self._logits[group] = found

    def _read_opening(self, tokens: Sequence[int]) -> Any:
        """A cache of one row that holds `tokens`."""
        import torch

        from knowtuning.inference.cache import cache_for

        ids = torch.tensor([[*tokens]], device=self._model.device)
        cache = cache_for(self._model, len(tokens))
        self._forward(ids, torch.ones_like(ids), torch.arange(len(tokens), device=ids.device)[None], cache)
        return cache

    def next_tokens(self) -> torch.Tensor:
        """The most probable next token of each row, (rows,); the first of equals."""
        tokens: torch.Tensor = self._logits.argmax(dim=-1)
        return tokens

    def feed(self, tokens: torch.Tensor) -> None:
        """Append a token to each row."""
        import torch

        self._mask = torch.cat([self._mask, self._mask.new_ones(len(self._mask), 1)], dim=1)
        self._positions = self._positions + 1
        self._logits = self._forward(tokens[:, None], self._mask, self._positions, self._cache)

    def keep(self, places: list[int]) -> torch.Tensor:
        """Drop all rows but those at `places`; returns these as an index."""
        import torch

        index = torch.tensor(places, device=self._mask.device)
        self.rows = [self.rows[place] for place in places]
        self._cache.batch_select_indices(index)
        self._mask, self._positions = self._mask[index], self._positions[index]
        return index

    def _forward(
        self, ids: torch.Tensor, mask: torch.Tensor, positions: torch.Tensor, cache: Any
    ) -> torch.Tensor:
        """Logits after the last token of each row; the tokens are added to the cache."""
        logits: torch.Tensor = self._model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        ).logits[:, -1]
        return logits


def decodes(model: Any) -> bool:
    """Whether `greedy` serves a model: one with a key-value cache, told where its tokens stand."""
    import inspect

    wanted = {"past_key_values", "position_ids", "logits_to_keep"}
    stateful = getattr(model, "_is_stateful", False)
    return not stateful and wanted <= set(inspect.signature(model.forward).parameters)


def cache_bytes(model: Any) -> int:
    """Bytes that a token takes in the model's key-value cache."""
    config = model.config.get_text_config()
    heads = config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // heads
    shared = getattr(config, "num_key_value_heads", None) or heads
    size: int = 2 * config.num_hidden_layers * shared * width * model.dtype.itemsize
    return size
