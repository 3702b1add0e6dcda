"""Method step 1: split each answer into atomic facts (paper, 3.2)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from knowtuning.core.records import Example, Facts, Rejected
from knowtuning.knowledge.results import Results, ask, reject
from knowtuning.teacher.tasks import Extract, FactList, Failure, Teacher


def extract(examples: Iterable[Example], teacher: Teacher) -> Iterator[Facts | Rejected]:
    """Yield the facts of each example in turn, or the reason why the teacher found none."""
    work = ((row, Extract(id=row.id, question=row.question, answer=row.answer)) for row in examples)
    for example, _, outcome in ask(teacher, work):
        if isinstance(outcome, Failure):
            yield reject(example.id, outcome, example)
            continue
        assert isinstance(outcome, FactList)
        yield Facts(id=example.id, question=example.question, answer=example.answer, facts=outcome.facts)


def summarise(results: Results[Facts]) -> dict[str, Any]:
    """Counts for metrics/extract.json. single: questions with one fact, which KC cannot thin or shuffle."""
    counts = [len(row.facts) for row in results.rows]
    return {
        "questions": len(counts),
        "facts": sum(counts),
        "facts_per_answer": round(sum(counts) / len(counts), 3) if counts else 0.0,
        "most_facts": max(counts, default=0),
        "single": counts.count(1),
        "rejected": len(results.rejected),
        "rejected_by_reason": results.rejection_counts(),
    }
