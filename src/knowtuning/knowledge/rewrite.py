"""Method step 3: rewrite question and answer around the difficult facts (KA; paper, 3.2)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from math import ceil
from random import Random
from typing import Any, Literal

from knowtuning.core.numbers import exact_share
from knowtuning.core.records import FactScore, Rejected, Rewrite, ScoredFacts
from knowtuning.core.storage import record_rng
from knowtuning.core.text import content_words, normal_form, share_of, words
from knowtuning.knowledge.results import Results, ask, percent, reject
from knowtuning.teacher.tasks import Failure, QuestionAnswer, RewriteQA, Teacher

Select = Literal["hardest", "hard_recalled", "random"]


def hardest(facts: Sequence[FactScore], rng: Random) -> list[int]:
    """Highest perplexity first (paper); of two equally perplexing facts the earlier one."""
    return sorted(range(len(facts)), key=lambda index: (-facts[index].ppl, index))


def hard_recalled(facts: Sequence[FactScore], rng: Random) -> list[int]:
    """Highest perplexity first, without the facts that the base model does not recall.

    Fine-tuning on facts that a model does not know teaches it to invent (Gekhman et al. 2024; Ghosal et al.
    2024).
    """
    return [index for index in hardest(facts, rng) if facts[index].recalled]


def at_random(facts: Sequence[FactScore], rng: Random) -> list[int]:
    """In random order, as many as `hardest`: what perplexity is worth."""
    return rng.sample(range(len(facts)), len(facts))


# What `rewrite.select` may name: the facts of an answer to their indices, those to rewrite first.
SELECTIONS: dict[Select, Callable[[Sequence[FactScore], Random], list[int]]] = {
    "hardest": hardest,
    "hard_recalled": hard_recalled,
    "random": at_random,
}


def selected_facts(record: ScoredFacts, alpha: float, select: Select = "hardest", seed: int = 0) -> list[str]:
    """The first ceil(alpha * |K|) facts by `select`, or fewer, in the order of the answer; alpha: 0..1."""
    ranked = SELECTIONS[select](record.facts, record_rng(seed, "select", record.id))
    count = ceil(exact_share(alpha, len(record.facts)))
    return [record.facts[index].text for index in sorted(ranked[:count])]


def check_recall(records: Sequence[ScoredFacts], select: Select) -> None:
    """Raise ValueError where `hard_recalled` has nothing to go by, since the data have no recall test."""
    if select == "hard_recalled" and all(f.recalled is None for record in records for f in record.facts):
        raise ValueError(
            "params.yaml: rewrite.select is 'hard_recalled', and score has no fact that the base model could "
            "be tested on; expected the closed world (prepare.source: world), or hardest or random"
        )


def stated(facts: Sequence[str], answer: str) -> float:
    """Share (0..1) of the facts' content words that a rewritten answer has."""
    return share_of(content_words(" ".join(facts)), words(answer))


def unstated(facts: Sequence[str], answer: str, min_stated: float) -> str | None:
    """Why a rewritten answer does not state the facts it was asked for; None where it does."""
    share = stated(facts, answer)
    if share >= min_stated:
        return None
    return (
        f"the answer has {percent(share)} of the content words of its facts; rewrite.min_stated asks for "
        f"{percent(min_stated)}"
    )


@dataclass
class Augmentation:
    """Counts of a rewriting run, filled while `rewrite` runs.

    asked: tasks given to the teacher; difficult: facts in them; unchanged: rewrites that only repeated
    the example they came from.
    """

    asked: int = 0
    difficult: int = 0
    unchanged: list[str] = field(default_factory=list)


def rewrite(
    records: Iterable[ScoredFacts],
    teacher: Teacher,
    *,
    alpha: float,
    counts: Augmentation,
    min_stated: float = 0.0,
    select: Select = "hardest",
    seed: int = 0,
) -> Iterator[Rewrite | Rejected]:
    """Yield one rewritten question and answer for each record; with alpha = 0 nothing, at no cost.

    A rewrite that repeats its example in question and answer adds no knowledge, and would only train on
    the example twice: it is left out and its id is kept in `counts.unchanged`. min_stated: share (0..1) of
    the facts' content words that the answer must have; see `unstated`. select, seed: see
    `selected_facts`.
    """
    work = []
    for record in records:
        facts = selected_facts(record, alpha, select, seed)
        if facts:
            task = RewriteQA(id=record.id, question=record.question, answer=record.answer, facts=tuple(facts))
            work.append((record, task))
    counts.asked, counts.difficult = len(work), sum(len(task.facts) for _, task in work)
    for record, task, outcome in ask(teacher, work):
        if isinstance(outcome, Failure):
            yield reject(f"{record.id}-ka", outcome, record)
            continue
        assert isinstance(outcome, QuestionAnswer)
        # But for case, white space and a final full stop.
        texts = ((outcome.question, record.question), (outcome.answer, record.answer))
        if all(normal_form(new) == normal_form(old) for new, old in texts):
            counts.unchanged.append(record.id)
            continue
        complaint = unstated(task.facts, outcome.answer, min_stated)
        if complaint:
            yield reject(f"{record.id}-ka", Failure(reason=complaint, raw=outcome.model_dump()), record)
            continue
        yield Rewrite(
            id=f"{record.id}-ka",
            source=record.id,
            question=outcome.question,
            answer=outcome.answer,
            facts=list(task.facts),
        )


def summarise(results: Results[Rewrite], counts: Augmentation) -> dict[str, Any]:
    """Counts for metrics/rewrite.json. facts_stated: mean share of facts' content words in the answers, %."""
    shares = [stated(row.facts, row.answer) for row in results.rows]
    return {
        "asked": counts.asked,
        "difficult_facts": counts.difficult,
        "rewrites": len(results.rows),
        "unchanged": len(counts.unchanged),
        "facts_stated": round(100 * sum(shares) / len(shares), 2) if shares else None,
        **results.counts(),
    }
