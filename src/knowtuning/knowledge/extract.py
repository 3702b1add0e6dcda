"""Method step 1: split each answer into atomic facts (paper, 3.2)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from knowtuning.core.records import Example, Facts, Rejected
from knowtuning.core.text import share_of, words
from knowtuning.knowledge.results import Results, ask, percent, reject
from knowtuning.teacher.tasks import Extract, FactList, Failure, Teacher


@dataclass(frozen=True)
class Extraction:
    """Shares (0..1) of one answer. covered: of its words, those that are in its facts. foreign: of the facts'
    words, those that are neither in the answer nor in its question."""

    covered: float
    foreign: float

    @classmethod
    def of(cls, question: str, answer: str, facts: Sequence[str]) -> Extraction:
        in_facts, in_answer = words(" ".join(facts)), words(answer)
        return cls(share_of(in_answer, in_facts), 1 - share_of(in_facts, [*in_answer, *words(question)]))

    def complaint(self, min_covered: float, max_foreign: float) -> str | None:
        """Why these facts are not those of the answer; None where they are."""
        if self.covered < min_covered:
            return (
                f"the facts hold {percent(self.covered)} of the answer's words; extract.min_covered asks "
                f"for {percent(min_covered)}"
            )
        if self.foreign > max_foreign:
            return (
                f"{percent(self.foreign)} of the facts' words are foreign to question and answer; "
                f"extract.max_foreign allows {percent(max_foreign)}"
            )
        return None


def extract(
    examples: Iterable[Example], teacher: Teacher, *, min_covered: float = 0.0, max_foreign: float = 1.0
) -> Iterator[Facts | Rejected]:
    """Yield the facts of each example in turn, or the reason why there are none.

    min_covered, max_foreign: shares (0..1) of words that make the facts those of the answer, see Extraction.
    """
    work = ((row, Extract(id=row.id, question=row.question, answer=row.answer)) for row in examples)
    for example, _, outcome in ask(teacher, work):
        if isinstance(outcome, Failure):
            yield reject(example.id, outcome, example)
            continue
        assert isinstance(outcome, FactList)
        check = Extraction.of(example.question, example.answer, outcome.facts)
        complaint = check.complaint(min_covered, max_foreign)
        if complaint:
            yield reject(example.id, Failure(reason=complaint, raw=outcome.facts), example)
            continue
        yield Facts(id=example.id, question=example.question, answer=example.answer, facts=outcome.facts)


def summarise(results: Results[Facts]) -> dict[str, Any]:
    """Counts for metrics/extract.json, and shares in %.

    single: questions with one fact, which KC cannot thin or shuffle. words_covered, words_foreign: means over
    the answers, see Extraction.
    """
    counts = [len(row.facts) for row in results.rows]
    checks = [Extraction.of(row.question, row.answer, row.facts) for row in results.rows]
    answers = max(1, len(checks))
    return {
        "questions": len(counts),
        "facts": sum(counts),
        "facts_per_answer": round(sum(counts) / answers, 3),
        "most_facts": max(counts, default=0),
        "single": counts.count(1),
        "words_covered": round(100 * sum(check.covered for check in checks) / answers, 2),
        "words_foreign": round(100 * sum(check.foreign for check in checks) / answers, 2),
        **results.counts(),
    }
