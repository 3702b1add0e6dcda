"""Greedy decoding against transformers' own, over families of models, with answers that end early."""

from __future__ import annotations

import itertools
import sys
import types
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from knowtuning.attention import Decoding
from knowtuning.inference import rows
from knowtuning.inference.decoders import ModelDecoder
from knowtuning.inference.greedy import Greedy, cache_bytes, decodes
from knowtuning.inference.ready import make_ready
from knowtuning.inference.rows import moved_up, row_groups

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


def ready(family: str, *, fitted: bool) -> Any:
    """A small model, as the stage prepares it on a CPU or as it came."""
    model: Any = random_model(family, **FAMILIES[family])
    if fitted:
        make_ready(model)
    return model


@pytest.mark.parametrize("read", [8192, 20])  # tokens a pass: one pass, and one for every prompt or two
@pytest.mark.parametrize("fitted", [False, True])
@pytest.mark.parametrize("opening", [[], OPENING])
@pytest.mark.parametrize("family", FAMILIES)
def test_answers_are_those_of_generate(
    monkeypatch: pytest.MonkeyPatch, family: str, opening: list[int], fitted: bool, read: int
) -> None:
    monkeypatch.setattr(rows, "_READ", read)
    monkeypatch.setattr(rows, "_GROUP", 200)  # bytes: several groups of rows
    monkeypatch.setattr("knowtuning.attention._OUTSIDE", 0 if read == 20 else 2**19)
    plain, model = random_model(family, **FAMILIES[family]), ready(family, fitted=fitted)
    assert decodes(model)
    prompts = [opening + prompt for prompt in PROMPTS]
    free = Greedy(model, eos=NEVER, pad=PAD).answers(prompts, 10)
    assert free == [reference(plain, prompt, NEVER, 10) for prompt in prompts]
    # A token that most answers reach, at different steps, becomes the end: rows leave the batch.
    counts = {token: sum(token in answer for answer in free) for token in set(chain(*free))}
    eos = max(counts, key=lambda token: (counts[token], token))
    expected = [reference(plain, prompt, eos, 10) for prompt in prompts]
    assert len({len(answer) for answer in expected}) > 1
    assert Greedy(model, eos=eos, pad=PAD).answers(prompts, 10) == expected


@pytest.mark.parametrize("fitted", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_who_reads_without_padding_and_decodes_in_groups(family: str, fitted: bool) -> None:
    found = Greedy(ready(family, fitted=fitted), eos=NEVER, pad=PAD)
    # Not those whose attention forgets tokens.
    trees = family not in ("mistral", "gemma2")
    assert (found._likelihood is not None, found.in_groups) == (trees, trees and fitted)


@pytest.mark.parametrize("fitted", [False, True])
def test_a_long_prompt_does_not_split_a_batch_of_groups(fitted: bool) -> None:
    tokenizer = types.SimpleNamespace(eos_token_id=NEVER, pad_token_id=PAD)
    decoder = ModelDecoder(ready("llama", fitted=fitted), tokenizer, batch_tokens=100)
    found = decoder.plan([[5] * 3, [5] * 40, [5] * 3, [5] * 3], 12)
    assert found == ([[1, 0, 2, 3]] if fitted else [[1], [0, 2, 3]])


@pytest.mark.parametrize("fitted", [False, True])
def test_an_opening_is_read_once_and_nothing_is_padding(fitted: bool) -> None:
    model, tokens = ready("llama", fitted=fitted), []
    decoder = Greedy(model, eos=NEVER, pad=PAD)
    model.model.register_forward_pre_hook(
        lambda _, __, given: tokens.append(given["input_ids"].numel()), with_kwargs=True
    )
    decoder.answers([OPENING + prompt for prompt in PROMPTS], 1)
    if fitted:
        assert tokens == [len(OPENING) + sum(map(len, PROMPTS))]
    else:
        assert sum(tokens) < len(PROMPTS) * (len(OPENING) + max(map(len, PROMPTS)))


def test_equal_prompts_are_read_as_any_others() -> None:
    prompts = [OPENING, OPENING, OPENING[:8]]
    for fitted in (False, True):
        model = ready("llama", fitted=fitted)
        found = Greedy(model, eos=NEVER, pad=PAD).answers(prompts, 5)
        assert found == [reference(ready("llama", fitted=False), prompt, NEVER, 5) for prompt in prompts]


def test_a_model_that_gets_groups_wrong_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    right = Decoding.attend
    monkeypatch.setattr(Decoding, "attend", lambda *given: right(*given).roll(1, dims=0))
    model = ready("llama", fitted=True)
    decoder = Greedy(model, eos=NEVER, pad=PAD)
    assert not decoder.in_groups
    found = decoder.answers(PROMPTS, 5)
    assert found == [reference(ready("llama", fitted=False), prompt, NEVER, 5) for prompt in PROMPTS]


def test_a_generation_config_has_no_say() -> None:
    model = random_model("llama")
    plain = Greedy(model, eos=NEVER, pad=PAD).answers(PROMPTS, 10)
    model.generation_config.repetition_penalty = 5.0
    assert Greedy(model, eos=NEVER, pad=PAD).answers(PROMPTS, 10) == plain


def test_models_without_such_a_cache_are_left_to_generate() -> None:
    from transformers import MambaConfig, MambaForCausalLM

    assert not decodes(MambaForCausalLM(MambaConfig(vocab_size=17, hidden_size=16, num_hidden_layers=1)))


def test_the_cache_of_a_token() -> None:
    # Keys and values of 2 layers, 2 shared heads of 8 numbers, 4 bytes each: 2 * 2 * 2 * 8 * 4 = 256.
    assert cache_bytes(random_model("llama", num_key_value_heads=2)) == 256


@given(lengths=st.lists(st.integers(1, 300), min_size=1, max_size=40), size=st.sampled_from([1024, 5120]))
def test_groups_of_rows_hold_each_once_with_bounded_padding(lengths: list[int], size: int) -> None:
    groups = row_groups(lengths, size)
    assert sorted(chain.from_iterable(groups)) == list(range(len(lengths)))
    own = [[lengths[row] for row in group] for group in groups]
    for group in own:
        assert group == sorted(group, reverse=True)
        assert size * sum(group[0] - length for length in group) <= 2**19
    # The longest first.
    assert all(one[-1] >= other[0] for one, other in itertools.pairwise(own))


@given(st.sets(st.integers(0, 30), min_size=1))
def test_rows_that_stay_move_only_where_another_has_left(places: set[int]) -> None:
    found = moved_up(sorted(places))
    assert sorted(found) == sorted(places)
    assert all(place == old for place, old in enumerate(found) if place in places)
