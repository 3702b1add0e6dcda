"""Who computes greedy answers: the loaded model itself, or another program (vllm.py)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from knowtuning.batching import by_length, left_padded
from knowtuning.inference.greedy import Greedy, cache_bytes, decodes

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Tokens = list[int]
# Answers a batch at most: what a killed run can lose, and the share that another process can take.
_MOST = 128


class Decoder(Protocol):
    """Continues prompts greedily: at each step the most probable token, until EOS or the limit."""

    def plan(self, prompts: Sequence[Tokens], new_tokens: int) -> list[list[int]]:
        """Indices of all prompts, those together whose answers come together."""

    def answers(
        self, work: Mapping[str, Sequence[Tokens]], new_tokens: int
    ) -> Iterator[tuple[str, list[Tokens]]]:
        """The key of each part of the plan with the answers to its prompts, as they come.

        An answer is without EOS; one that does not end has `new_tokens` tokens.
        """


class ModelDecoder:
    """A loaded model, in batches of prompts of similar length.

    batch_tokens: tokens a batch may have when its answers are full; None: as many as fit.
    """

    def __init__(
        self, model: Any, tokenizer: PreTrainedTokenizerBase, *, batch_tokens: int | None = None
    ) -> None:
        self._model, self._batch_tokens = model, batch_tokens
        self._eos, self._pad = tokenizer.eos_token_id, tokenizer.pad_token_id
        self._greedy = Greedy(model, eos=self._eos, pad=self._pad) if decodes(model) else None

    def plan(self, prompts: Sequence[Tokens], new_tokens: int) -> list[list[int]]:
        lengths = [len(prompt) + new_tokens for prompt in prompts]
        budget = self._batch_tokens or _tokens_that_fit(self._model)
        padded = not (self._greedy and self._greedy.in_groups)
        return list(by_length(lengths, budget, most=_MOST, padded=padded))

    def answers(
        self, work: Mapping[str, Sequence[Tokens]], new_tokens: int
    ) -> Iterator[tuple[str, list[Tokens]]]:
        for key, prompts in work.items():
            answers = self._greedy.answers if self._greedy else self._generated
            yield key, answers(prompts, new_tokens)

    def _generated(self, prompts: Sequence[Tokens], new_tokens: int) -> list[Tokens]:
        """The same by transformers, for models that `greedy` does not serve."""
        import torch

        ids, mask = left_padded(prompts, self._pad)
        with torch.no_grad():
            out = self._model.generate(
                input_ids=ids.to(self._model.device),
                attention_mask=mask.to(self._model.device),
                max_new_tokens=new_tokens,
                do_sample=False,
                num_beams=1,
                temperature=None,
                top_p=None,
                top_k=None,
                eos_token_id=self._eos,
                pad_token_id=self._pad,
            )
        return [until(self._eos, row) for row in out[:, ids.shape[1] :].tolist()]


def until(eos: int, tokens: Tokens) -> Tokens:
    """The tokens before EOS; all where there is none."""
    return tokens[: tokens.index(eos)] if eos in tokens else tokens


def _tokens_that_fit(model: Any) -> int:
    """Tokens whose key-value cache takes 1 GiB of a CPU's memory, or a quarter of a GPU's."""
    import torch

    memory = 2**30
    if model.device.type == "cuda":
        memory = torch.cuda.get_device_properties(model.device).total_memory // 4
    return max(1, memory // cache_bytes(model))
