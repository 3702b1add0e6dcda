"""Two judges: the closed world's, which is exact, and a teacher."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from knowtuning.core.records import Example
from knowtuning.knowledge.aspects import CRITERIA
from knowtuning.teacher.judging import Judge, Preferral, Preferred
from knowtuning.teacher.tasks import Failure, Teacher
from knowtuning.verification.asking import ask_once
from knowtuning.verification.exact import Verification, Verifier
from knowtuning.verification.judgements import Comparison

# What a judge reads in place of the reference answer of a question that has none.
NO_REFERENCE = "(There is none: judge by what you know.)"


class ExactJudge:
    """Compares what an exact verifier counts in the two answers. Its verdicts know no order."""

    def __init__(self, truth: Verifier) -> None:
        self._truth = truth
        self._known: dict[tuple[str, str], Verification] = {}

    def compare(self, comparisons: Sequence[Comparison]) -> Iterator[Preferred | Failure]:
        """Yield the verdict on each comparison; an answer is verified once."""
        for one in comparisons:
            first, second = self._verified(one.example, one.first), self._verified(one.example, one.second)
            yield CRITERIA[one.aspect].prefer(first, second)

    def _verified(self, example: Example, answer: str) -> Verification:
        key = (example.id, answer)
        if key not in self._known:
            self._known[key] = self._truth.verify(example, answer)
        return self._known[key]


class TeacherJudge:
    """Puts every comparison to a teacher; reference: whether it sees the reference answer too."""

    def __init__(self, teacher: Teacher, *, reference: bool = True) -> None:
        self._teacher = teacher
        self._reference = reference

    def compare(self, comparisons: Sequence[Comparison]) -> Iterator[Preferred | Failure]:
        """Yield the teacher's verdict on each comparison, or why there is none."""
        tasks = [
            Judge(
                id=one.id,
                question=one.example.question,
                aspect=one.aspect,
                definition=CRITERIA[one.aspect].definition,
                reference=(self._reference and one.example.answer.strip()) or NO_REFERENCE,
                first=one.first,
                second=one.second,
            )
            for one in comparisons
        ]
        for outcome in ask_once(self._teacher, tasks):
            if isinstance(outcome, Failure):
                yield outcome
            else:
                assert isinstance(outcome, Preferral)
                yield outcome.verdict
