"""Greedy prediction: batches, padding and order change nothing; the end and the limit are told apart."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from benchmarks.padding import predicted
from knowtuning.attention import fit_attention
from knowtuning.core.params import Template
from knowtuning.core.records import Example
from knowtuning.inference.decoders import ModelDecoder
from knowtuning.inference.predict import predict
from knowtuning.packing import common
from knowtuning.runtime.models import load_base, load_tokenizer
from knowtuning.runtime.prompting import encode_prompt
from knowtuning.runtime.resume import Journal

EXAMPLES = [
    Example(id=f"q{n}", question="Where " + "is it " * n + "?", answer="-") for n in (5, 1, 9, 3, 1, 7)
]


def run(base: Path, model: torch.nn.Module, batch_tokens: int, new_tokens: int = 12) -> list[tuple[str, str]]:
    tokenizer = load_tokenizer(base)
    decoder = ModelDecoder(model, tokenizer, batch_tokens=batch_tokens)
    found = predict(EXAMPLES, decoder, tokenizer, template="plain", max_new_tokens=new_tokens)
    return [(p.id, p.answer) for p in found]


def test_batches_change_neither_answers_nor_order(tiny_base: Path) -> None:
    model = load_base(tiny_base, dtype=torch.float32, device="cpu")
    alone = run(tiny_base, model, 1)
    assert [name for name, _ in alone] == [example.id for example in EXAMPLES]
    assert run(tiny_base, model, 200) == alone
    assert run(tiny_base, model, 100_000) == alone


def test_answers_are_the_arg_max_of_each_step(tiny_base: Path) -> None:
    model, tokenizer = load_base(tiny_base, dtype=torch.float32, device="cpu"), load_tokenizer(tiny_base)
    found = dict(run(tiny_base, model, 100_000, new_tokens=6))
    for example in EXAMPLES:
        ids = encode_prompt(tokenizer, "plain", example.question)
        answer: list[int] = []
        while len(answer) < 6:
            with torch.no_grad():
                token = int(model(torch.tensor([ids + answer])).logits[0, -1].argmax())
            if token == tokenizer.eos_token_id:
                break
            answer.append(token)
        assert found[example.id] == tokenizer.decode(answer, skip_special_tokens=True).strip()


@pytest.mark.parametrize(("step", "truncated"), [(3, False), (99, True)])
def test_an_answer_without_an_end_is_marked(tiny_base: Path, step: int, truncated: bool) -> None:
    tokenizer = load_tokenizer(tiny_base)
    model = load_base(tiny_base, dtype=torch.float32, device="cpu")
    plain = model.forward
    calls = {"n": 0}

    def ends_at_step(*args: object, **kwargs: object) -> object:
        out = plain(*args, **kwargs)
        calls["n"] += 1
        out.logits[:, -1, tokenizer.eos_token_id] = 1e9 if calls["n"] > step else -1e9
        return out

    model.forward = ends_at_step
    decoder = ModelDecoder(model, tokenizer)
    found = predict(EXAMPLES[:1], decoder, tokenizer, template="plain", max_new_tokens=5)
    assert (found[0].truncated, found[0].tokens) == (truncated, 5 if truncated else 3)


def test_the_order_of_the_file_changes_no_answer(tiny_base: Path) -> None:
    model, tokenizer = load_base(tiny_base, dtype=torch.float32, device="cpu"), load_tokenizer(tiny_base)
    decoder, settings = ModelDecoder(model, tokenizer), {"template": "plain", "max_new_tokens": 12}
    found = predict(EXAMPLES, decoder, tokenizer, **settings)
    assert predict(EXAMPLES[::-1], decoder, tokenizer, **settings) == found[::-1]


def test_finished_batches_are_not_computed_again(tiny_base: Path, tmp_path: Path) -> None:
    model, tokenizer = load_base(tiny_base, dtype=torch.float32, device="cpu"), load_tokenizer(tiny_base)
    # 40 tokens a batch: every question stands alone.
    decoder = ModelDecoder(model, tokenizer, batch_tokens=40)
    settings = {"template": "plain", "max_new_tokens": 5}
    found = predict(EXAMPLES, decoder, tokenizer, **settings, journal=Journal(tmp_path))
    calls = []
    model.register_forward_pre_hook(lambda *_: calls.append(1))
    assert predict(EXAMPLES, decoder, tokenizer, **settings, journal=Journal(tmp_path)) == found
    assert calls == []


@pytest.mark.parametrize("template", ["bare", "alpaca"])
def test_tokens_processed_are_those_that_are_counted(tiny_base: Path, template: Template) -> None:
    model, tokenizer = load_base(tiny_base, dtype=torch.float32, device="cpu"), load_tokenizer(tiny_base)
    fit_attention(model)
    decoder, passed = ModelDecoder(model, tokenizer), []
    model.model.register_forward_pre_hook(
        lambda _, __, given: passed.append(given["input_ids"].numel()), with_kwargs=True
    )
    found = predict(EXAMPLES, decoder, tokenizer, template=template, max_new_tokens=12)
    prompts = [encode_prompt(tokenizer, template, example.question) for example in EXAMPLES]
    answers = [answer.tokens + (not answer.truncated) for answer in found]
    counts = predicted(prompts, answers, 12, 2**20)
    assert sum(passed) == counts.processed
    # What all prompts open with is read once: alpaca's instruction.
    assert counts.processed - counts.padding == counts.given - (len(prompts) - 1) * common(prompts)
