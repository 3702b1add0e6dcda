"""Answers against transformers' own one prompt at a time, over families; ends, limits, samples and seeds."""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import torch

from knowtuning.core.records import Example
from knowtuning.generation import generate as module
from knowtuning.generation import graph
from knowtuning.generation.generate import (
    Decoding,
    ModelBackend,
    generate,
    predictions,
    prompts_of,
    recordable,
    until,
)
from knowtuning.model.load import load_base, load_tokenizer
from knowtuning.model.memory import cache_bytes
from knowtuning.model.prompt import Formatter
from knowtuning.model.resume import Journal
from tests.support.tiny_models import GROUPED, random_model, unigram_model

FAMILIES: dict[str, dict[str, Any]] = {
    "llama": GROUPED,
    "mistral": {**GROUPED, "sliding_window": 6},
    "qwen2": GROUPED,
    "gpt2": {},
    "opt": {"ffn_dim": 64},
    "gpt_neox": {},
    "gemma2": {"head_dim": 8, "sliding_window": 6},
    "mamba": {},
}
PAD, NEVER = 0, 96
PROMPTS = [[5, 9, 11], [7], [3, 4, 5, 6, 8, 9, 12], [5, 9], [40, 41, 42, 43], [7, 7], [13, 2, 13, 50], [61]]
NAMED = {str(number): prompt for number, prompt in enumerate(PROMPTS)}


def alone(model: Any, prompt: list[int], ends: list[int], new_tokens: int) -> list[int]:
    """What `generate` continues one prompt with, its end cut off."""
    ids = torch.tensor([prompt])
    out = model.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=new_tokens,
        do_sample=False,
        eos_token_id=ends,
        pad_token_id=PAD,
    )
    return until(ends, out[0, len(prompt) :].tolist())


def greedy(model: Any, ends: list[int], new_tokens: int, batch_tokens: int = 10_000) -> list[list[int]]:
    decoding = Decoding(new_tokens)
    backend = ModelBackend(model, decoding, ends, PAD, batch_tokens=batch_tokens)
    answers = generate(NAMED, backend, decoding)
    return [answers[name][0] for name in NAMED]


@pytest.mark.parametrize("family", FAMILIES)
def test_answers_are_those_of_each_prompt_alone(monkeypatch: pytest.MonkeyPatch, family: str) -> None:
    monkeypatch.setattr(module, "_CHUNK", 3)  # several chunks an answer
    model = random_model(family, **FAMILIES[family])
    free = [alone(model, prompt, [NEVER], 10) for prompt in PROMPTS]
    if family != "mamba":  # left padding reaches its state
        assert greedy(model, [NEVER], 10) == free
    # Tokens that answers reach at different steps become ends: rows leave the batch.
    counts = {token: sum(token in answer for answer in free) for token in set(chain(*free))}
    ends = sorted(counts, key=lambda token: (counts[token], token))[-2:]
    expected = [alone(model, prompt, ends, 10) for prompt in PROMPTS]
    assert len({len(answer) for answer in expected}) > 1
    assert greedy(model, ends, 10, batch_tokens=1) == expected
    if family != "mamba":
        assert greedy(model, ends, 10) == expected


@pytest.mark.parametrize("family", ["llama", "qwen2", "gpt2", "opt", "gpt_neox"])
def test_a_recorded_step_gives_the_same_answers(monkeypatch: pytest.MonkeyPatch, family: str) -> None:
    """Its arithmetic on a CPU, where nothing is recorded; a GPU's own test is below."""
    monkeypatch.setattr(graph, "CHECK", 3)
    model = random_model(family, **FAMILIES[family])
    if not recordable(model):
        pytest.skip(f"transformers does not record {family}")
    free = greedy(model, [NEVER], 10)
    ends = [free[2][4], free[3][7]]
    for decoding in (Decoding(10), Decoding(10, temperature=0.8, top_p=0.9, top_k=50, samples=2, seed=3)):
        backend = ModelBackend(model, decoding, ends, PAD, batch_tokens=10_000)
        expected = generate(NAMED, backend, decoding)
        assert len({len(answer) for answers in expected.values() for answer in answers}) > 2
        backend.recorded = True
        assert generate(NAMED, backend, decoding) == expected


def test_windows_states_and_quantized_weights_are_not_recorded() -> None:
    assert not any(
        recordable(random_model(family, **FAMILIES[family])) for family in ("mistral", "gemma2", "mamba")
    )
    model = random_model("llama", **GROUPED)
    assert recordable(model)
    model.is_quantized = True
    assert not recordable(model)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA GPU")
def test_a_gpu_gives_the_answers_of_a_cpu() -> None:
    model = random_model("llama", **GROUPED)
    expected = greedy(model, [NEVER], 40)
    assert greedy(model.to("cuda"), [NEVER], 40) == expected


def test_a_generation_config_has_no_say() -> None:
    model = random_model("llama")
    plain = greedy(model, [NEVER], 10)
    model.generation_config.repetition_penalty = 5.0
    assert greedy(model, [NEVER], 10) == plain


def test_the_cache_of_a_token() -> None:
    # Keys and values of 2 layers, 2 shared heads of 8 numbers, 4 bytes each: 2 · 2 · 2 · 8 · 4 = 256.
    assert cache_bytes(random_model("llama", **GROUPED)) == 256


def sampled(decoding: Decoding, prompts: dict[str, list[int]], model: Any) -> dict[str, list[list[int]]]:
    return generate(prompts, ModelBackend(model, decoding, [NEVER], PAD), decoding)


def test_a_sample_depends_on_its_prompt_and_number_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_CHUNK", 4)
    model = random_model("llama", **GROUPED)
    decoding = Decoding(10, temperature=1.0, samples=3, seed=7)
    everything = sampled(decoding, NAMED, model)
    assert sampled(decoding, {"3": NAMED["3"]}, model) == {"3": everything["3"]}
    fewer = Decoding(10, temperature=1.0, samples=1, seed=7)
    assert sampled(fewer, NAMED, model) == {name: result[:1] for name, result in everything.items()}
    assert len({tuple(answer) for answer in everything["3"]}) == 3
    assert sampled(Decoding(10, temperature=1.0, samples=3, seed=8), NAMED, model) != everything


def test_samples_follow_the_distribution_they_are_drawn_from() -> None:
    # Token 3 weighs 6, token 4 weighs 3, six others 1 each: 15 in all, whatever came before.
    model = unigram_model({3: 6.0, 4: 3.0}, size=8)

    def shares(**options: Any) -> tuple[float, float]:
        decoding = Decoding(20, temperature=1.0, samples=100, **options)
        answers = generate({"q": [5]}, ModelBackend(model, decoding, [99], PAD), decoding)["q"]
        tokens = list(chain(*answers))
        return tokens.count(3) / len(tokens), tokens.count(4) / len(tokens)

    # 2,000 draws: a standard error of at most 1.1 points; five of them.
    assert shares() == pytest.approx((6 / 15, 3 / 15), abs=0.055)
    assert shares(top_k=2) == pytest.approx((6 / 9, 3 / 9), abs=0.055)
    # 3 alone has 0.4, with 4 it is 0.6: the least set that holds half.
    assert shares(top_p=0.5) == pytest.approx((6 / 9, 3 / 9), abs=0.055)


EXAMPLES = [
    Example(id=f"q{n}", question="Where " + "is it " * n + "?", answer="-") for n in (5, 1, 9, 3, 2, 7)
]


@pytest.fixture(scope="module")
def model(tiny_base: Path) -> Any:
    return load_base(tiny_base, dtype=torch.float32, device="cpu")


def run(base: Path, model: Any, new_tokens: int = 12, **options: Any) -> list[Any]:
    tokenizer = load_tokenizer(base)
    formatter = Formatter(tokenizer, "plain", {})
    journal, examples = options.pop("journal", None), options.pop("examples", EXAMPLES)
    decoding = Decoding(new_tokens)
    backend = ModelBackend(model, decoding, formatter.ends, int(tokenizer.pad_token_id), **options)
    prompts = prompts_of(examples, formatter, new_tokens, None)
    return predictions(examples, generate(prompts, backend, decoding, journal), formatter, decoding)


def test_batches_and_the_order_of_the_file_change_no_answer(tiny_base: Path, model: Any) -> None:
    alone = run(tiny_base, model, batch_tokens=1)
    assert [answer.id for answer in alone] == [example.id for example in EXAMPLES]
    assert run(tiny_base, model, batch_tokens=100_000) == alone
    assert run(tiny_base, model, examples=EXAMPLES[::-1]) == alone[::-1]


@pytest.mark.parametrize(("step", "truncated"), [(3, False), (99, True)])
def test_an_answer_without_an_end_is_marked(tiny_base: Path, step: int, truncated: bool) -> None:
    tokenizer = load_tokenizer(tiny_base)
    model: Any = load_base(tiny_base, dtype=torch.float32, device="cpu")
    plain, calls = model.forward, []

    def ends_at_step(*args: Any, **kwargs: Any) -> Any:
        out = plain(*args, **kwargs)
        calls.append(1)
        out.logits[:, -1, tokenizer.eos_token_id] = 1e9 if len(calls) > step else -1e9
        return out

    model.forward = ends_at_step
    answer = run(tiny_base, model, 5, examples=EXAMPLES[:1])[0]
    assert (answer.truncated, answer.tokens) == (truncated, 5 if truncated else 3)


def test_finished_batches_are_not_computed_again(tiny_base: Path, model: Any, tmp_path: Path) -> None:
    # 40 tokens a batch: every question stands alone.
    answers = run(tiny_base, model, 5, batch_tokens=40, journal=Journal(tmp_path))
    calls: list[int] = []
    hook = model.register_forward_pre_hook(lambda *_: calls.append(1))
    again = run(tiny_base, model, 5, batch_tokens=40, journal=Journal(tmp_path))
    hook.remove()
    assert again == answers
    assert calls == []


def test_a_prompt_without_room_for_its_answer_is_named(tiny_base: Path) -> None:
    formatter = Formatter(load_tokenizer(tiny_base), "plain", {})
    longest = len(formatter.prompt(EXAMPLES[2].question))
    assert len(prompts_of(EXAMPLES, formatter, 10, longest + 10)) == len(EXAMPLES)
    with pytest.raises(ValueError, match=rf"^q9: its prompt has {longest} tokens, and 10 new ones make more"):
        prompts_of(EXAMPLES, formatter, 10, longest + 9)
