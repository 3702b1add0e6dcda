"""Method step 2: perplexity of every atomic fact given its question, under the base model (paper, 3.2)."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from knowtuning.core.params import Template
from knowtuning.core.records import Atoms, FactScore, Rejected, Scored
from knowtuning.knowledge.results import Progress, Results, quietly, reject
from knowtuning.likelihood import Likelihood
from knowtuning.packing import Tree, passes, split_trees
from knowtuning.runtime.prompting import encode_completions, encode_prompt
from knowtuning.runtime.resume import Journal
from knowtuning.teacher.tasks import Failure

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

# Decimals of a stored summed log-probability (nats): what float32 can be trusted with.
_DECIMALS = 4


@dataclass(frozen=True)
class Encoded:
    """A record as tokens. kept: places of the facts that fit into the context; rows hold those."""

    record: Atoms
    kept: tuple[int, ...]
    rows: tuple[Tree, ...]
    failure: Failure | None


def encode(
    record: Atoms,
    tokenizer: PreTrainedTokenizerBase,
    *,
    template: Template,
    context: int,
) -> Encoded:
    """Tokenise a record; facts that do not fit into `context` tokens with their prompt are set aside."""
    prompt = encode_prompt(tokenizer, template, record.question)
    facts = encode_completions(tokenizer, template, record.facts, eos=False)
    kept = tuple(i for i, fact in enumerate(facts) if fact and len(prompt) + len(fact) <= context)
    failure = None
    if len(kept) < len(facts) or not facts:
        longest = len(prompt) + max(map(len, facts), default=0)
        failure = Failure(
            reason=f"{len(facts) - len(kept)} of {len(facts)} facts cannot be scored: prompt and fact have "
            f"up to {longest} tokens, expected a fact of at least 1 and {context} together at most",
            raw=[record.facts[i] for i in range(len(facts)) if i not in kept],
        )
    rows = tuple(split_trees(prompt, [facts[i] for i in kept]))
    return Encoded(record, kept, rows, failure)


@dataclass(frozen=True)
class Scoring:
    """The outcome of `score`. tokens: each prompt once a row; processed: by the model, with padding."""

    results: Results[Scored]
    fact_tokens: int
    tokens: int
    processed: int
    shared: bool


def score(
    records: Iterable[Atoms],
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    *,
    template: Template,
    max_length: int,
    recalled: Callable[[str], bool | None] | None = None,
    batch_tokens: int = 0,
    progress: Progress = quietly,
    journal: Journal | None = None,
) -> Scoring:
    """Score every fact of `records` behind the prompt of its question.

    Rows of similar length run together, about `batch_tokens` at a time. With batch_tokens = 0 each row has a
    forward of its own, whose result depends on nothing else: other records, their order or their number
    change no bit of it. Both agree to 1e-4 nats in float32, not always to the last decimal.

    A record with facts beyond the context (`max_length` tokens or the model's own, whichever is less) is
    rejected, and its other facts are scored all the same. Finished batches and cues are noted in the journal,
    and not computed where an earlier run has noted them. Raises ValueError on a non-finite result.
    """
    context = min(max_length, context_of(model))
    encoded = [encode(record, tokenizer, template=template, context=context) for record in records]
    rows = [row for item in encoded for row in item.rows]
    likelihood, journal = Likelihood(model), journal or Journal()
    plan = list(passes(rows, batch_tokens))
    sums = _sums(rows, plan, likelihood, journal, progress)
    processed = sum(likelihood.processed([rows[index] for index in batch]) for batch in plan)
    ordered = iter([sums[index] for index in range(len(rows))])
    if recalled:
        texts = [item.record.facts[place] for item in encoded for place in item.kept]
        recalled = _recalled(texts, recalled, journal, progress).get
    results = Results.of(
        row for item in encoded for row in _rows_of(item, [next(ordered) for _ in item.rows], recalled)
    )
    return Scoring(
        results=results,
        fact_tokens=sum(len(fact) for row in rows for fact in row.branches),
        tokens=sum(map(len, rows)),
        processed=processed,
        shared=all(map(likelihood.shares, rows)),
    )


def _sums(
    rows: Sequence[Tree],
    plan: Sequence[list[int]],
    likelihood: Likelihood,
    journal: Journal,
    progress: Progress,
) -> dict[int, list[float]]:
    """Summed log-probabilities of the facts of each row, batch by batch as planned."""
    keys = {f"rows {batch[0]}": batch for batch in plan}
    todo = journal.todo(list(keys), alike=all(map(likelihood.shares, rows)))
    for key in progress(todo, "score", len(plan), initial=len(plan) - len(todo)):
        journal.put(key, likelihood.logps([rows[index] for index in keys[key]]))
    done = journal.exchange()
    sums: dict[int, list[float]] = {}
    for key, batch in keys.items():
        sums.update(zip(batch, done[key], strict=True))
    return sums


def _recalled(
    facts: Iterable[str], recalled: Callable[[str], bool | None], journal: Journal, progress: Progress
) -> dict[str, bool | None]:
    """For each distinct fact whether the model completes it, or None where nothing cues it."""
    keys = {f"recall {fact}": fact for fact in facts}
    todo = journal.todo(list(keys))
    for key in progress(todo, "recall", len(keys), initial=len(keys) - len(todo)):
        journal.put(key, recalled(keys[key]))
    done = journal.exchange()
    return {fact: done[key] for key, fact in keys.items()}


def context_of(model: PreTrainedModel) -> int:
    """The longest sequence that the model has positions for (tokens); very large where it has no limit."""
    limit = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    return limit if isinstance(limit, int) and limit > 0 else 2**31


def _rows_of(
    item: Encoded, sums: Sequence[Sequence[float]], recalled: Callable[[str], bool | None] | None
) -> Iterator[Scored | Rejected]:
    """The scored record, and a rejected row for the facts that could not be scored."""
    record = item.record
    if item.failure is not None:
        yield reject(record.id, item.failure, record)
    if not item.kept:
        return
    tokens = [len(fact) for row in item.rows for fact in row.branches]
    flat = [value for values in sums for value in values]
    texts = [record.facts[place] for place in item.kept]
    facts = [
        fact_score(record.id, text, logps, count, recalled(text) if recalled else None)
        for text, logps, count in zip(texts, flat, tokens, strict=True)
    ]
    yield Scored(id=record.id, question=record.question, answer=record.answer, facts=facts)


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


def summarise(scoring: Scoring) -> dict[str, Any]:
    """Numbers for metrics/score.json. nats_per_token: over all tokens of all facts.

    overhead: processed / given tokens, below 1 since prompts share what they open with and the last token of
    a fact is predicted but not read.
    """
    facts = [fact for row in scoring.results.rows for fact in row.facts]
    known = [fact.recalled for fact in facts if fact.recalled is not None]
    ppls = [fact.ppl for fact in facts]
    return {
        "questions": len(scoring.results.rows),
        "facts": len(facts),
        "fact_tokens": scoring.fact_tokens,
        "tokens": scoring.tokens,
        "processed_tokens": scoring.processed,
        "overhead": round(scoring.processed / max(1, scoring.tokens), 4),
        "shared_prefix": scoring.shared,
        "ppl_mean": round(statistics.fmean(ppls), 4) if ppls else None,
        "ppl_median": round(statistics.median(ppls), 4) if ppls else None,
        "nats_per_token": round(-sum(fact.logps for fact in facts) / max(1, scoring.fact_tokens), 4),
        "cued_facts": len(known),
        "recalled_percent": round(100 * sum(known) / len(known), 2) if known else None,
        "rejected": len(scoring.results.rejected),
        "rejected_by_reason": scoring.results.rejection_counts(),
    }
