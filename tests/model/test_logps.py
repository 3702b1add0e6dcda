"""Log-probabilities by every way there is, against the definition: each completion alone, token by token."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from knowtuning.model.batches import by_length
from knowtuning.training import logps
from knowtuning.training.logps import (
    Question,
    add_head,
    completion_logps,
    fact_logps,
    prefix_limit,
    question_batches,
)
from tests.support.tiny_models import GROUPED, random_model

FAMILIES: dict[str, dict[str, Any]] = {
    "llama": GROUPED,
    "qwen2": GROUPED,
    "gpt2": {},
    "gpt_neox": {"intermediate_size": 48},
    "mistral": {**GROUPED, "sliding_window": 64},
    "gemma2": {**GROUPED, "head_dim": 8, "final_logit_softcapping": 0.5, "sliding_window": 64},
    "gemma3_text": {**GROUPED, "head_dim": 8, "sliding_window": 64},
    "bloom": {},
    "mamba": {},
}


def by_definition(model: Any, prompt: list[int], completion: list[int]) -> float:
    """Token by token, log softmax in float64, no batch, mask or position."""
    total = 0.0
    for index, token in enumerate(completion):
        with torch.no_grad():
            logits = model(torch.tensor([[*prompt, *completion[:index]]])).logits[0, -1].double()
        total += torch.log_softmax(logits, -1)[token].item()
    return total


def questions(count: int, longest: int = 9) -> list[Question]:
    draw = random.Random(0)

    def tokens(most: int) -> list[int]:
        return [draw.randrange(3, 97) for _ in range(draw.randint(1, most))]

    return [Question(tokens(longest), [tokens(7) for _ in range(draw.randint(1, 5))]) for _ in range(count)]


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_agrees_with_the_definition(family: str) -> None:
    model = random_model(family, **FAMILIES[family]).requires_grad_(False)
    items = questions(6)
    expected = [[by_definition(model, item.prompt, fact) for fact in item.facts] for item in items]
    add_head(model)
    pairs = [(item.prompt, fact) for item in items for fact in item.facts]
    alone = [value for row in expected for value in row]
    assert completion_logps(model, pairs, 40) == pytest.approx(alone, abs=1e-4)
    for values, known in zip(fact_logps(model, items, 200), expected, strict=True):
        assert values == pytest.approx(known, abs=1e-4)


def test_which_models_share_a_prompt_among_its_facts() -> None:
    limits = {family: prefix_limit(random_model(family, **FAMILIES[family])) for family in FAMILIES}
    windows = {"mistral": 64, "gemma2": 64, "gemma3_text": 64, "mamba": 0}
    assert limits == {family: windows.get(family, float("inf")) for family in FAMILIES}


def test_a_context_longer_than_the_window_is_read_fact_by_fact() -> None:
    model = random_model("mistral", **{**GROUPED, "sliding_window": 6}).requires_grad_(False)
    item = Question([1, 2, 3, 9, 5], [[4, 5], [6, 7, 8]])
    expected = [by_definition(model, item.prompt, fact) for fact in item.facts]
    assert fact_logps(model, [item], 100)[0] == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("budget", [1, 60, 10_000])
def test_batches_change_no_sum(budget: int) -> None:
    model = random_model("llama", **GROUPED).requires_grad_(False)
    items = questions(12, longest=30)
    together = fact_logps(model, items, 10_000)
    again: dict[int, list[float]] = {}
    for batch in question_batches(items, budget):
        again.update(zip(batch, fact_logps(model, [items[index] for index in batch], budget), strict=True))
    for number, values in enumerate(together):
        assert again[number] == pytest.approx(values, abs=1e-4)


def test_prompts_of_one_token_need_no_cache() -> None:
    model = random_model("llama", **GROUPED).requires_grad_(False)
    items = [Question([5], [[6, 7], [8]]), Question([9], [[3]])]
    expected = [[by_definition(model, item.prompt, fact) for fact in item.facts] for item in items]
    for values, known in zip(fact_logps(model, items, 100), expected, strict=True):
        assert values == pytest.approx(known, abs=1e-4)


def test_a_prompt_is_read_once_for_all_its_facts() -> None:
    model = random_model("llama", **GROUPED).requires_grad_(False)
    read: list[int] = []
    model.model.register_forward_pre_hook(
        lambda _, __, inputs: read.append(inputs["input_ids"].numel()), with_kwargs=True
    )
    item = Question(list(range(3, 43)), [[5] * 4] * 6)
    fact_logps(model, [item], 1000)
    # The prompt but its last token; then for each fact that token and all but its own last one.
    assert read == [39, 6 * 4]


lengths = st.lists(st.integers(1, 300), min_size=1, max_size=40)


@given(lengths=lengths, budget=st.integers(1, 2000), most=st.none() | st.integers(1, 5))
def test_batches_by_length_hold_each_once_within_the_budget(
    lengths: list[int], budget: int, most: int | None
) -> None:
    batches = list(by_length(lengths, budget, most=most))
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    for batch in batches:
        longest = max(lengths[index] for index in batch)
        assert len(batch) == 1 or (longest * len(batch) <= budget and len(batch) <= (most or 40))


@given(lengths=lengths, prefix=st.integers(0, 100), budget=st.integers(1, 5000))
def test_chunks_of_facts_hold_each_once_with_bounded_padding(
    lengths: list[int], prefix: int, budget: int
) -> None:
    chunks = list(logps._chunks(lengths, prefix, budget))
    assert sorted(index for chunk in chunks for index in chunk) == list(range(len(lengths)))
    for chunk in chunks:
        sizes = [lengths[index] for index in chunk]
        padded = len(sizes) * max(sizes)
        assert padded <= 1.15 * sum(sizes) + 48
        assert len(sizes) == 1 or padded + len(sizes) * prefix <= budget
