"""Method step 2: perplexity of every atomic fact given its question, under the base model (paper, 3.2).

And where ground truth has a cue for a fact, whether the model knows it: it has to complete the value.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from knowtuning.core.records import Facts, FactScore, Rejected, ScoredFacts
from knowtuning.knowledge.results import Results, reject
from knowtuning.model.load import context_of
from knowtuning.model.prompt import Formatter
from knowtuning.model.resume import Journal
from knowtuning.teacher.tasks import Failure
from knowtuning.training.logps import Question, add_head, fact_logps, question_batches

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from knowtuning.world.verifier import Cue

# Decimals of a stored summed log-probability (nats): what float32 can be trusted with.
_DECIMALS = 4


@dataclass(frozen=True)
class Encoded:
    """A record as tokens. kept: indices of the facts that fit into the context; question: those, or None."""

    record: Facts
    kept: tuple[int, ...]
    question: Question | None
    failure: Failure | None


def encode(record: Facts, formatter: Formatter, *, context: int) -> Encoded:
    """Tokenise a record; facts that do not fit into `context` tokens with their prompt are set aside."""
    prompt = formatter.prompt(record.question)
    facts = [formatter.completion(fact, end=False) for fact in record.facts]
    kept = tuple(i for i, fact in enumerate(facts) if fact and len(prompt) + len(fact) <= context)
    failure = None
    if len(kept) < len(facts) or not facts:
        longest = len(prompt) + max(map(len, facts), default=0)
        failure = Failure(
            reason=f"{len(facts) - len(kept)} of {len(facts)} facts cannot be scored: prompt and fact have "
            f"up to {longest} tokens, expected a fact of at least 1 and {context} together at most",
            raw=[record.facts[i] for i in range(len(facts)) if i not in kept],
        )
    question = Question(prompt, [facts[i] for i in kept]) if kept else None
    return Encoded(record, kept, question, failure)


def score(
    records: Iterable[Facts],
    model: PreTrainedModel,
    formatter: Formatter,
    *,
    max_length: int,
    recalled: Callable[[str], bool | None] | None = None,
    batch_tokens: int = 8192,
    journal: Journal | None = None,
) -> Results[ScoredFacts]:
    """Score every fact of `records` behind the prompt of its question.

    Questions with prompts of similar length run together, about `batch_tokens` at a time. How they are put
    together changes sums by 1e-4 nats at most in float32.

    A record with facts beyond the context (`max_length` tokens or the model's own, whichever is less) is
    rejected, and its other facts are scored all the same. Finished batches and cues are noted in the journal,
    and not computed where an earlier run has noted them. Raises ValueError on a non-finite result.
    """
    context = min(max_length, context_of(model.config) or max_length)
    encoded = [encode(record, formatter, context=context) for record in records]
    journal = journal or Journal()
    questions = [item.question for item in encoded if item.question]
    add_head(model)
    batches = {f"questions {batch[0]}": batch for batch in question_batches(questions, batch_tokens)}

    def logps(batch: list[int]) -> list[list[float]]:
        return fact_logps(model, [questions[index] for index in batch], batch_tokens)

    done = journal.complete(batches, logps, "score")
    of_question = {i: row for key, batch in batches.items() for i, row in zip(batch, done[key], strict=True)}
    sums = iter([of_question[index] for index in range(len(questions))])
    known: dict[str, bool | None] = {}
    if recalled:
        facts = [item.record.facts[index] for item in encoded for index in item.kept]
        texts = {f"recall {fact}": fact for fact in facts}
        done = journal.complete(texts, recalled, "recall")
        known = {fact: done[key] for key, fact in texts.items()}
    return Results.of(
        row for item in encoded for row in _rows_of(item, next(sums) if item.question else [], known)
    )


def _rows_of(
    item: Encoded, sums: Sequence[float], recalled: Mapping[str, bool | None]
) -> Iterator[ScoredFacts | Rejected]:
    """The scored record, and a rejected row for the facts that could not be scored."""
    record = item.record
    if item.failure is not None:
        yield reject(record.id, item.failure, record)
    if item.question is None:
        return
    texts = [record.facts[index] for index in item.kept]
    facts = [
        fact_score(record.id, text, logps, len(tokens), recalled.get(text))
        for text, logps, tokens in zip(texts, sums, item.question.facts, strict=True)
    ]
    yield ScoredFacts(id=record.id, question=record.question, answer=record.answer, facts=facts)


def fact_score(record_id: str, text: str, logps: float, tokens: int, recalled: bool | None) -> FactScore:
    """A fact with ppl = exp(-logps / tokens). Raises ValueError when the result is not finite."""
    if not math.isfinite(logps) or -logps / tokens > 700:
        raise ValueError(
            f"{record_id}: the log-probability of {text!r} is {logps}; expected a finite number; "
            "check the base model's weights or set score.dtype to float32"
        )
    logps = round(logps, _DECIMALS)
    ppl = float(f"{math.exp(-logps / tokens):.6g}")
    return FactScore(text=text, logps=logps, tokens=tokens, ppl=ppl, recalled=recalled)


def recall_check(
    cue: Callable[[str], Cue | None], model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> Callable[[str], bool | None]:
    """Whether the model completes a fact; None where ground truth has no cue for it."""

    def check(fact: str) -> bool | None:
        asked = cue(fact)
        return None if asked is None else recalls(model, tokenizer, prefix=asked.prefix, value=asked.value)

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


def summarise(results: Results[ScoredFacts]) -> dict[str, Any]:
    """Numbers for metrics/score.json. nats_per_token: over all tokens of all facts."""
    facts = [fact for row in results.rows for fact in row.facts]
    known = [fact.recalled for fact in facts if fact.recalled is not None]
    ppls, tokens = [fact.ppl for fact in facts], sum(fact.tokens for fact in facts)
    return {
        "questions": len(results.rows),
        "facts": len(facts),
        "fact_tokens": tokens,
        "ppl_mean": round(statistics.fmean(ppls), 4) if ppls else None,
        "ppl_median": round(statistics.median(ppls), 4) if ppls else None,
        "nats_per_token": round(-sum(fact.logps for fact in facts) / max(1, tokens), 4),
        "cued_facts": len(known),
        "recalled_percent": round(100 * sum(known) / len(known), 2) if known else None,
        **results.counts(),
    }
