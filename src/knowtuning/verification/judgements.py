"""Pairs of answers, judged in both orders: by the closed world, which is exact, or by a teacher.

A judge may prefer whichever answer it reads first. So each pair is judged twice, and counts as a win or a
loss only when both orders agree; else it is a tie. Where one of the two brings no verdict the pair is
`unjudged`: it has its own count and stays in every denominator that says so.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from knowtuning.core.records import Example, Judgement
from knowtuning.knowledge.aspects import ASPECTS, CRITERIA
from knowtuning.teacher import judging
from knowtuning.teacher.judging import Preferral, Preferred
from knowtuning.teacher.tasks import Failure, Teacher
from knowtuning.verification.answer_facts import ask_once
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

    @property
    def equal(self) -> bool:
        """Whether nothing but white space sets the answers apart."""
        return self.first.split() == self.second.split()

    @property
    def swapped(self) -> Comparison:
        return replace(self, first=self.second, second=self.first)


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


PairJudge = ExactJudge | TeacherJudge


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
    pairs = [
        (a, b, Comparison(f"{e.id}/{a}-{b}/{aspect}", e, aspect, answers[a][index], answers[b][index]))
        for index, e in enumerate(examples)
        for (a, b), aspect in itertools.product(matchups, aspects)
    ]
    orders = [order for _, _, one in pairs if not one.equal for order in (one, one.swapped)]
    verdicts = judge.compare(orders)
    return [_judgement(a, b, one, verdicts) for a, b, one in pairs]


def _judgement(a: str, b: str, one: Comparison, verdicts: Iterator[Preferred | Failure]) -> Judgement:
    """The judgement of a pair of systems: the next verdicts, one for each order, joined."""
    forward: Side | None = None
    backward: Side | None = None
    outcome: Outcome = "tie"
    reason = EQUAL if one.equal else None
    if not one.equal:
        orders = {"forward": next(verdicts), "backward": next(verdicts)}
        first, second = orders.values()
        forward = None if isinstance(first, Failure) else _FORWARD[first]
        backward = None if isinstance(second, Failure) else _BACKWARD[second]
        if forward is None or backward is None:
            outcome = "unjudged"
            reason = "; ".join(f"{o}: {v.reason}" for o, v in orders.items() if isinstance(v, Failure))
        elif forward == backward:
            outcome = _OUTCOMES[forward]
    return Judgement(
        id=one.id,
        question=one.example.id,
        a=a,
        b=b,
        aspect=one.aspect,
        forward=forward,
        backward=backward,
        outcome=outcome,
        reason=reason,
    )
