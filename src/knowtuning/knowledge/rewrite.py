"""Method step 3: rewrite question and answer around the difficult facts (KA; paper, 3.2)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from knowtuning.core.records import FactScore, Rejected, Rewrite, ScoredFacts
from knowtuning.core.text import normal_form
from knowtuning.knowledge.checks import stated, unstated
from knowtuning.knowledge.results import Results, ask, reject
from knowtuning.knowledge.shares import ceil_share
from knowtuning.teacher.tasks import Failure, QuestionAnswer, RewriteQA, Teacher


def difficult_facts(facts: Sequence[FactScore], alpha: float) -> list[str]:
    """The ceil(alpha * |K|) facts of highest perplexity, in the order of the answer.

    Of two equally perplexing facts the earlier one counts as harder. alpha: 0..1; 0 gives none.
    """
    hardest = sorted(range(len(facts)), key=lambda index: (-facts[index].ppl, index))
    return [facts[index].text for index in sorted(hardest[: ceil_share(alpha, len(facts))])]


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
) -> Iterator[Rewrite | Rejected]:
    """Yield one rewritten question and answer for each record; with alpha = 0 nothing, at no cost.

    A rewrite that repeats its example in question and answer adds no knowledge, and would only train on
    the example twice: it is left out and its id is kept in `counts.unchanged`. min_stated: share (0..1) of
    the facts' content words that the answer must have; see checks.unstated.
    """
    for record, task, outcome in ask(teacher, _tasks(records, alpha, counts)):
        if isinstance(outcome, Failure):
            yield reject(f"{record.id}-ka", outcome, record)
            continue
        assert isinstance(outcome, QuestionAnswer)
        if _repeats(record, outcome):
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


def _tasks(
    records: Iterable[ScoredFacts], alpha: float, counts: Augmentation
) -> Iterator[tuple[ScoredFacts, RewriteQA]]:
    """Each record that has difficult facts, with its task."""
    for record in records:
        facts = difficult_facts(record.facts, alpha)
        if not facts:
            continue
        counts.asked += 1
        counts.difficult += len(facts)
        yield (
            record,
            RewriteQA(id=record.id, question=record.question, answer=record.answer, facts=tuple(facts)),
        )


def _repeats(record: ScoredFacts, reply: QuestionAnswer) -> bool:
    """Whether a rewrite says the same as its example, in question and answer."""
    same_question = normal_form(reply.question) == normal_form(record.question)
    return same_question and normal_form(reply.answer) == normal_form(record.answer)


def _mean_stated(rows: Sequence[Rewrite]) -> float | None:
    """Mean share of facts' content words that the answers have, in %; None where there is no rewrite."""
    shares = [stated(row.facts, row.answer) for row in rows]
    return round(100 * sum(shares) / len(shares), 2) if shares else None


def summarise(results: Results[Rewrite], counts: Augmentation) -> dict[str, Any]:
    """Counts for metrics/rewrite.json."""
    return {
        "asked": counts.asked,
        "difficult_facts": counts.difficult,
        "rewrites": len(results.rows),
        "unchanged": len(counts.unchanged),
        "facts_stated": _mean_stated(results.rows),
        **results.counts(),
    }
