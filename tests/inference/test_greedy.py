"""Greedy decoding against transformers' own, over families of models, with answers that end early."""

from __future__ import annotations

import itertools
import sys
from itertools import chain
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from knowtuning.inference.greedy import alike, cache_bytes, decodes, greedy, shared_opening

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "knowledge"))
from tiny_models import random_model

FAMILIES = {
    "llama": {"num_key_value_heads": 2},
    "mistral": {"num_key_value_heads": 2, "sliding_window": 6},
    "qwen2": {"num_key_value_heads": 2},
    "gpt2": {},
    "opt": {"ffn_dim": 64},
    "gpt_neox": {},
    "gemma2": {"head_dim": 8, "sliding_window": 6},
}
PAD, NEVER = 0, 97  # 97 is beyond the vocabulary
OPENING = [31, 8, 90, 8, 17, 44, 3, 60, 2]
PROMPTS = [[5, 9, 11], [7], [3, 4, 5, 6, 8, 9, 12], [5, 9], [40, 41, 42, 43], [7, 7], [13, 2, 13, 50], [61]]


def reference(model, prompt: list[int], eos: int, new_tokens: int) -> list[int]:
    """What `generate` continues one prompt with, EOS cut off."""
    ids = torch.tensor([prompt])
    out = model.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=new_tokens,
        do_sample=False,
        eos_token_id=eos,
        pad_token_id=PAD,
    )[0, len(prompt) :].tolist()
    return out[: out.index(eos)] if eos in out else out


@pytest.mark.parametrize("opening", [[], OPENING])
@pytest.mark.parametrize("family", FAMILIES)
def test_answers_are_those_of_generate(family: str, opening: list[int]) -> None:
    model = random_model(family, **FAMILIES[family])
    assert decodes(model)
    prompts = [opening + prompt for prompt in PROMPTS]
    assert shared_opening(prompts) == len(opening)
    free = greedy(model, prompts, new_tokens=10, eos=NEVER, pad=PAD)
    assert free == [reference(model, prompt, NEVER, 10) for prompt in prompts]
    # A token that most answers reach, at different steps, becomes the end: rows leave the batch.
    counts = {token: sum(token in answer for answer in free) for token in set(chain(*free))}
    eos = max(counts, key=lambda token: (counts[token], token))
    expected = [reference(model, prompt, eos, 10) for prompt in prompts]
    assert len({len(answer) for answer in expected}) > 1
    assert greedy(model, prompts, new_tokens=10, eos=eos, pad=PAD) == expected


def test_an_opening_is_read_once() -> None:
    model, tokens = random_model("llama"), []
    model.model.register_forward_pre_hook(
        lambda _, __, given: tokens.append(given["input_ids"].numel()), with_kwargs=True
    )
    greedy(model, [OPENING + prompt for prompt in PROMPTS], new_tokens=1, eos=NEVER, pad=PAD)
    # Each of the prompts has its own group here, but for equals in length, which share one without padding.
    assert sum(tokens) == len(OPENING) + sum(map(len, PROMPTS))


def test_equal_prompts_keep_a_token_of_their_own() -> None:
    model = random_model("llama")
    found = greedy(model, [OPENING, OPENING, OPENING[:8]], new_tokens=5, eos=NEVER, pad=PAD)
    assert found == [reference(model, prompt, NEVER, 5) for prompt in (OPENING, OPENING, OPENING[:8])]


def test_a_generation_config_has_no_say() -> None:
    model = random_model("llama")
    plain = greedy(model, PROMPTS, new_tokens=10, eos=NEVER, pad=PAD)
    model.generation_config.repetition_penalty = 5.0
    assert greedy(model, PROMPTS, new_tokens=10, eos=NEVER, pad=PAD) == plain


def test_models_without_such_a_cache_are_left_to_generate() -> None:
    from transformers import MambaConfig, MambaForCausalLM

    assert not decodes(MambaForCausalLM(MambaConfig(vocab_size=17, hidden_size=16, num_hidden_layers=1)))


def test_the_cache_of_a_token() -> None:
    # Keys and values of 2 layers, 2 shared heads of 8 numbers, 4 bytes each: 2 * 2 * 2 * 8 * 4 = 256.
    assert cache_bytes(random_model("llama", num_key_value_heads=2)) == 256


@given(st.lists(st.integers(1, 300), min_size=1, max_size=40))
def test_prompts_are_read_with_little_padding(lengths: list[int]) -> None:
    groups = alike(lengths)
    assert sorted(chain.from_iterable(groups)) == list(range(len(lengths)))
    for group in groups:
        own = [lengths[index] for index in group]
        assert max(own) * len(own) <= 1.05 * sum(own)
    # Longest first: no group reaches into the next.
    heads = [[lengths[index] for index in group] for group in groups]
    assert all(min(one) >= max(other) for one, other in itertools.pairwise(heads))
