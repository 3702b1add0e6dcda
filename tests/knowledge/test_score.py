"""The stage's records: known perplexities, what is rejected, recall (sums are tested in model/)."""

from __future__ import annotations

import math
import random
from pathlib import Path

import pytest

from knowtuning.core.records import Facts, dumps
from knowtuning.knowledge.score import fact_score, recall_check, recalls, score, summarise
from knowtuning.model.prompt import Formatter
from knowtuning.world.verifier import Cue
from tests.support.tiny_models import GROUPED, random_model, unigram_model, word_tokenizer

WORDS = [f"w{index}" for index in range(90)]


def atoms(record_id: str, *facts: str) -> Facts:
    return Facts(id=record_id, question="w1 w2", answer=" ".join(facts), facts=list(facts))


def lines(results) -> list[str]:
    return [dumps(row) for row in results.rows]


def test_scores_of_a_unigram_model_are_known() -> None:
    tokenizer = word_tokenizer(["w1", "w2", "half", "eighth"])
    # Ids: 3 special tokens, then w1, w2, half, eighth. Weights 1+1+1+1+1+11+4 = 20.
    model = unigram_model({5: 11.0, 6: 4.0}, size=7)
    formatter = Formatter(tokenizer, "plain", {})
    results = score([atoms("q", "half eighth", "w1")], model, formatter, max_length=64)
    first, second = results.rows[0].facts
    # log(11/20) + log(4/20) = -2.20727; exp(2.20727 / 2) = 3.01511. log(1/20) = -2.99573; ppl 20.
    assert (first.logps, first.tokens) == (-2.2073, 2)
    assert first.ppl == pytest.approx(math.sqrt(20 / 11 * 20 / 4), rel=2e-5)
    assert (second.logps, second.tokens, second.recalled) == (-2.9957, 1, None)
    summary = summarise(results)
    # 3 tokens of 2 facts: (2.2073 + 2.9957) / 3 = 1.7343 nats a token.
    assert (summary["facts"], summary["fact_tokens"], summary["nats_per_token"]) == (2, 3, 1.7343)


def test_another_record_or_order_changes_no_byte_of_a_question_that_runs_alone() -> None:
    formatter = Formatter(word_tokenizer(WORDS), "alpaca", {})
    model = random_model("llama", **GROUPED)
    draw = random.Random(1)
    records = [
        atoms(f"q{i}", *[" ".join(draw.choices(WORDS, k=draw.randint(1, 6))) for _ in range(3)])
        for i in range(12)
    ]

    def run(part, budget=1):
        return score(part, model, formatter, max_length=128, batch_tokens=budget)

    everything = lines(run(records))
    assert lines(run(records[4:5])) == everything[4:5]
    assert lines(run(records[::-1])) == everything[::-1]
    for row, other in zip(run(records, 4096).rows, run(records).rows, strict=True):
        # Rounding to 4 decimals may part two equal numbers by one unit of the last.
        assert [f.logps for f in row.facts] == pytest.approx([f.logps for f in other.facts], abs=2.1e-4)


def test_facts_beyond_the_context_are_rejected_and_the_others_scored() -> None:
    tokenizer, model = word_tokenizer(WORDS), unigram_model({}, size=93)
    records = [atoms("part", "w1 w2 w3 w4", "w1"), atoms("whole", "w5 w6 w7"), atoms("fine", "w8 w9")]
    # The prompt has 7 tokens, so 9 leave 2 for a fact.
    results = score(records, model, Formatter(tokenizer, "plain", {}), max_length=9)
    assert {row.id: [fact.text for fact in row.facts] for row in results.rows} == {
        "part": ["w1"],
        "fine": ["w8 w9"],
    }
    assert [row.id for row in results.rejected] == ["part", "whole"]
    assert results.rejected[0].reason.startswith(
        "1 of 2 facts cannot be scored: prompt and fact have up to 11"
    )
    assert results.rejected[0].raw["reply"] == ["w1 w2 w3 w4"]
    with pytest.raises(ValueError, match=r"2 of 3 rows were rejected, score\.max_rejected allows 0\.02"):
        results.check(Path("scored_facts.jsonl"), 0.02, "score.max_rejected", total=len(records))


@pytest.mark.parametrize("logps", [math.nan, -math.inf])
def test_a_broken_model_is_an_error_that_names_the_record(logps: float) -> None:
    with pytest.raises(ValueError, match=r"^q7: the log-probability of 'a fact' is .*score\.dtype"):
        fact_score("q7", "a fact", logps, 2, None)


def test_recall_is_the_greedy_continuation() -> None:
    # Tokens: 3 special, then these; "star" weighs most, so the greedy continuation is star star star …
    tokenizer = word_tokenizer(["The", "sign", "is", "star", "moon"])
    model = unigram_model({6: 5.0}, size=8)
    assert recalls(model, tokenizer, prefix="The sign is", value="star")
    assert recalls(model, tokenizer, prefix="The sign is", value="star star")
    assert not recalls(model, tokenizer, prefix="The sign is", value="moon")
    assert not recalls(model, tokenizer, prefix="The sign is", value="star moon")


def test_recall_agrees_with_generation() -> None:
    import torch

    # 3 special tokens and 94 words make the 97 tokens of the model.
    words = [f"w{index}" for index in range(94)]
    tokenizer, model = (word_tokenizer(words), random_model("llama", **GROUPED))
    draw, compared = random.Random(0), 0
    for _ in range(12):
        prefix = " ".join(draw.choices(words, k=4))
        ids = torch.tensor([[1, *tokenizer(prefix, add_special_tokens=False)["input_ids"]]])
        continued = model.generate(ids, do_sample=False, max_new_tokens=2, eos_token_id=None, pad_token_id=2)
        first, second = continued[0, 5:].tolist()
        if min(first, second) < 3:
            continue  # a special token cannot be written as a value
        compared += 1
        true, false = words[first - 3], words[(second - 2) % 94]
        assert recalls(model, tokenizer, prefix=prefix, value=f"{true} {words[second - 3]}")
        assert not recalls(model, tokenizer, prefix=prefix, value=f"{true} {false}")
    assert compared >= 8


def test_facts_without_a_cue_have_no_recall() -> None:
    def cue(fact: str) -> Cue | None:
        return Cue(prefix="The sign is", value=fact) if fact != "false" else None

    tokenizer = word_tokenizer(["The", "sign", "is", "star", "moon"])
    recall = recall_check(cue, unigram_model({6: 5.0}, size=8), tokenizer)
    assert [recall(fact) for fact in ("star", "moon", "false", "star")] == [True, False, None, True]
