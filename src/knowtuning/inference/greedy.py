"""Greedy decoding of a batch of prompts: the arg max of each step, until every answer has ended.

What `generate` of transformers does with do_sample=False, without its generality: a generation config cannot
change the answers (some models ship a repetition penalty), a step costs less Python, prompts are read without
padding, and answers that have ended leave the batch instead of being padded until the longest one ends.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from knowtuning.inference.rows import GroupedRows, PaddedRows, Rows, row_groups
from knowtuning.likelihood import Likelihood, tolerance

# Ended answers leave the batch when they are this share of it.
_LEAVE = 0.05


class Greedy:
    """A decoder with a key-value cache that continues prompts (token ids).

    An answer depends on its prompt alone (but for ties of rounding): padding is masked, and positions start
    at a prompt's first token. in_groups: whether rows lie in groups of like length, so that padding takes
    next to no memory.
    """

    def __init__(self, model: Any, *, eos: int, pad: int) -> None:
        self._model, self._eos, self._pad = model, eos, pad
        likelihood = Likelihood(model)
        self.in_groups = likelihood.pieces and _agrees(likelihood, decoding=True)
        trees = self.in_groups or _agrees(likelihood, decoding=False)
        self._likelihood = likelihood if trees else None

    def answers(self, prompts: Sequence[Sequence[int]], new_tokens: int) -> list[list[int]]:
        """The continuation of each prompt, without EOS; one that does not end has `new_tokens` tokens."""
        import torch

        answers: list[list[int]] = [[] for _ in prompts]
        ended = [False] * len(prompts)
        with torch.inference_mode():
            batch = self._batch(prompts, new_tokens)
            for step in range(new_tokens):
                tokens = batch.next_tokens()
                for row, token in zip(batch.rows, tokens.tolist(), strict=True):
                    ended[row] = ended[row] or token == self._eos
                    if not ended[row]:
                        answers[row].append(token)
                going = [place for place, row in enumerate(batch.rows) if not ended[row]]
                if not going or step == new_tokens - 1:
                    break
                if len(batch.rows) - len(going) >= _LEAVE * len(batch.rows):
                    tokens = tokens[batch.keep(going)]
                batch.feed(tokens)
        return answers

    def _batch(self, prompts: Sequence[Sequence[int]], new_tokens: int) -> Rows:
        if self._likelihood is None:
            return PaddedRows(self._model, prompts, new_tokens, self._pad)
        lengths = [len(prompt) for prompt in prompts]
        layers = self._model.config.get_text_config().num_hidden_layers
        token = cache_bytes(self._model) // layers
        groups = row_groups(lengths, token) if self.in_groups else [list(range(len(prompts)))]
        return GroupedRows(self._likelihood, prompts, new_tokens, groups, decoding=self.in_groups)


def _agrees(likelihood: Likelihood, *, decoding: bool) -> bool:
    """Whether two small prompts, read as trees, are followed by what follows them when they are padded.

    decoding: whether each is a group of its own.
    """
    import torch

    from knowtuning.inference.cache import cache_for, in_place

    model: Any = likelihood.model
    if not likelihood.shared or likelihood.window is not None or not in_place(cache_for(model, 1)):
        return False
    vocabulary = model.config.get_text_config().vocab_size
    prompts = [[(7 * place + 3) % vocabulary for place in range(length)] for length in (5, 2)]
    groups = [[0], [1]] if decoding else [[0, 1]]
    with torch.inference_mode():
        padded = PaddedRows(model, prompts, 1, 0)
        token = padded.next_tokens()
        padded.feed(token)
        try:
            grouped = GroupedRows(likelihood, prompts, 1, groups, decoding=decoding)
            grouped.feed(token)
        except (TypeError, ValueError, RuntimeError, AttributeError, IndexError):
            return False
    found, expected = (rows.logits.float().log_softmax(dim=-1) for rows in (grouped, padded))
    return bool((found - expected).abs().max() <= tolerance(model))


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
