"""Whether the base model knows a fact: it is cued with the beginning and has to complete the value."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from knowtuning.world.verifier import Cue


def recall_check(
    cue: Callable[[str], Cue | None], model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> Callable[[str], bool | None]:
    """Whether the model completes a fact; None where ground truth has no cue for it. Asks each cue once."""

    @functools.cache
    def completes(asked: Cue) -> bool:
        return recalls(model, tokenizer, prefix=asked.prefix, value=asked.value)

    def check(fact: str) -> bool | None:
        asked = cue(fact)
        return None if asked is None else completes(asked)

    return check


def recalls(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, *, prefix: str, value: str) -> bool:
    """Whether the model's greedy continuation of `prefix` (plain text, no template) opens with `value`.

    One forward tells: the continuation opens with the tokens of `value` exactly if each of them is the
    most probable one after those before it. The token that would follow must not lengthen the word.
    """
    import torch

    ids, start = _encode(tokenizer, prefix, value)
    with torch.inference_mode():
        logits = model(input_ids=torch.tensor([ids], device=model.device), use_cache=False).logits
    greedy = logits[0, start - 1 :].argmax(-1).tolist()
    if greedy[:-1] != ids[start:]:
        return False
    following = str(tokenizer.decode(ids[start:] + greedy[-1:])).strip().removeprefix(value)
    return not following[:1].isalnum()


def _encode(tokenizer: PreTrainedTokenizerBase, prefix: str, value: str) -> tuple[list[int], int]:
    """Token ids of prefix and value, tokenised as one text, and the index where the value begins."""
    ids = list(tokenizer(f"{prefix} {value}", add_special_tokens=False)["input_ids"])
    alone = list(tokenizer(prefix, add_special_tokens=False)["input_ids"])
    start = 0
    while start < min(len(alone), len(ids) - 1) and alone[start] == ids[start]:
        start += 1
    if tokenizer.bos_token_id is not None:
        return [tokenizer.bos_token_id, *ids], start + 1
    assert start > 0, f"the cue {prefix!r} has no token of its own"
    return ids, start
