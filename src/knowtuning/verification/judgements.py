"""Pairs of answers, judged in both orders: by the closed world, which is exact, or by a teacher.

A judge may prefer whichever answer it reads first. So each pair is judged twice, and counts as a win or a
loss only when both orders agree; else it is a tie. Where one of the two brings no verdict the pair is
`unjudged`: it has its own count and stays in every denominator that says so.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from knowtuning.core.records import Example, Judgement
from knowtuning.knowledge.aspects import ASPECTS, CRITERIA
from knowtuning.teacher import judging
from knowtuning.teacher.judging import Preferral, Preferred
from knowtuning.teacher.tasks import Failure, Teacher
from knowtuning.verification.asking import ask_once
from knowtuning.world.verifier import Truth, Verification

Side = Literal["a", "b", "tie"]
Outcome = Literal["win", "lose", "tie", "unjudged"]
Matchup = tuple[str, str]
EQUAL = "the answers are equal"
# What a judge reads in place of the reference answer of a question that has none.
NO_REFERENCE = "(There is none: judge by what you know.)"

_OUTCOMES: dict[Side, Outcome] = {"a": "win", "b": "lose", "tie": "tie"}
_FORWARD: dict[Preferred, Side] = {"first": "a", "second": "b", "tie": "tie"}
_BACKWARD: dict[Preferred, Side] = {"first": "b", "second": "a", "tie": "tie"}


@dataclass(frozen=True)
class Comparison:
    """What a judge is shown: two answers, in this order, and the aspect to compare them in."""

    id: str
    example: Example
    aspect: str
    first: str
    second: str


class PairJudge(Protocol):
    """Anything that compares two answers."""

    def compare(self, comparisons: Sequence[Comparison]) -> Iterator[Preferred | Failure]:
        """Yield the verdict on each comparison, in their order."""
        ...


class ExactJudge:
    """Compares what an exact verifier counts in the two answers. Its verdicts know no order."""

    def __init__(self, truth: Truth) -> None:
        self._truth = truth
        self._counts: dict[tuple[str, str], Verification] = {}

    def compare(self, comparisons: Sequence[Comparison]) -> Iterator[Preferred | Failure]:
        """Yield the verdict on each comparison; an answer is verified once."""
        for one in comparisons:
            first, second = self._verified(one.example, one.first), self._verified(one.example, one.second)
            yield CRITERIA[one.aspect].prefer(first, second)

    def _verified(self, example: Example, answer: str) -> Verification:
        key = (example.id, answer)
        if key not in self._counts:
            self._counts[key] = self._truth.verify(example, answer)
        return self._counts[key]


class TeacherJudge:
    """Puts every comparison to a teacher; reference: whether it sees the reference answer too."""

    def __init__(self, teacher: Teacher, *, reference: bool = True) -> None:
        self._teacher = teacher
        self._reference = reference

    def compare(self, comparisons: Sequence[Comparison]) -> Iterator[Preferred | Failure]:
        """Yield the teacher's verdict on each comparison, or why there is none."""
        for reply in ask_once(self._teacher, [self._task(one) for one in comparisons]):
            assert isinstance(reply, Preferral | Failure)
            yield reply.verdict if isinstance(reply, Preferral) else reply

    def _task(self, one: Comparison) -> judging.Judge:
        return judging.Judge(
            id=one.id,
            question=one.example.question,
            aspect=one.aspect,
            definition=CRITERIA[one.aspect].definition,
            reference=(self._reference and one.example.answer.strip()) or NO_REFERENCE,
            first=one.first,
            second=one.second,
        )


@dataclass(frozen=True)
class _Match:
    """Two systems' answers to one question, to be compared in one aspect."""

    example: Example
    a: str
    b: str
    aspect: str
    first: str
    second: str

    @property
    def id(self) -> str:
        return f"{self.example.id}/{self.a}-{self.b}/{self.aspect}"

    @property
    def equal(self) -> bool:
        return self.first.split() == self.second.split()

    def orders(self) -> list[Comparison]:
        """The comparisons that it takes."""
        if self.equal:
            return []
        return [
            Comparison(self.id, self.example, self.aspect, self.first, self.second),
            Comparison(self.id, self.example, self.aspect, self.second, self.first),
        ]

    def settled(self, verdicts: Iterator[Preferred | Failure]) -> Judgement:
        """The judgement that the next verdicts make, one for each order."""
        if self.equal:
            return self._judgement(None, None, "tie", EQUAL)
        forward, backward = next(verdicts), next(verdicts)
        a = None if isinstance(forward, Failure) else _FORWARD[forward]
        b = None if isinstance(backward, Failure) else _BACKWARD[backward]
        if a is None or b is None:
            orders = {"forward": forward, "backward": backward}
            reasons = [f"{order}: {v.reason}" for order, v in orders.items() if isinstance(v, Failure)]
            return self._judgement(a, b, "unjudged", "; ".join(reasons))
        return self._judgement(a, b, _OUTCOMES[a] if a == b else "tie", None)

    def _judgement(
        self, forward: Side | None, backward: Side | None, outcome: Outcome, reason: str | None
    ) -> Judgement:
        return Judgement(
            id=self.id,
            question=self.example.id,
            a=self.a,
            b=self.b,
            aspect=self.aspect,
            forward=forward,
            backward=backward,
            outcome=outcome,
            reason=reason,
        )


def judge_pairs(
    examples: Sequence[Example],
    answers: Mapping[str, Sequence[str]],
    matchups: Sequence[Matchup],
    judge: PairJudge,
    aspects: Collection[str] = tuple(ASPECTS),
) -> list[Judgement]:
    """Judge every two systems of `matchups` on every question in every aspect.

    answers: of each system, in the order of `examples`. aspects: names of CRITERIA. The judgements are in the
    order of the questions, then the matchups, then the aspects.
    """
    matches = [
        _Match(example, a, b, aspect, answers[a][index], answers[b][index])
        for index, example in enumerate(examples)
        for (a, b), aspect in itertools.product(matchups, aspects)
    ]
    comparisons = [comparison for match in matches for comparison in match.orders()]
    verdicts = judge.compare(comparisons) if comparisons else iter(())
    judgements = [match.settled(verdicts) for match in matches]
    # Nothing is left, but only asking for more lets the judge close what it opened.
    assert next(verdicts, None) is None
    return judgements
