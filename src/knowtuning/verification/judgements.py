"""Pairs of answers, judged in both orders.

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
from knowtuning.knowledge.aspects import ASPECTS
from knowtuning.teacher.judging import Preferred
from knowtuning.teacher.tasks import Failure

Side = Literal["a", "b", "tie"]
Outcome = Literal["win", "lose", "tie", "unjudged"]
Matchup = tuple[str, str]
EQUAL = "the answers are equal"

_OUTCOMES: dict[Side, Outcome] = {"a": "win", "b": "lose", "tie": "tie"}


@dataclass(frozen=True)
class Comparison:
    """What a judge is shown: two answers, in this order, and the aspect to compare them in."""

    id: str
    example: Example
    aspect: str
    first: str
    second: str


class Judge(Protocol):
    """Anything that compares two answers."""

    def compare(self, comparisons: Sequence[Comparison]) -> Iterator[Preferred | Failure]:
        """Yield the verdict on each comparison, in their order."""
        ...


def judge_pairs(
    examples: Sequence[Example],
    answers: Mapping[str, Sequence[str]],
    matchups: Sequence[Matchup],
    judge: Judge,
    aspects: Collection[str] = tuple(ASPECTS),
) -> list[Judgement]:
    """Judge every two systems of `matchups` on every question in every aspect.

    answers: of each system, in the order of `examples`. aspects: names of CRITERIA. The judgements are in the
    order of the questions, then the matchups, then the aspects.
    """
    matches = [
        (index, example, matchup, aspect)
        for index, example in enumerate(examples)
        for matchup, aspect in itertools.product(matchups, aspects)
    ]
    comparisons: list[Comparison] = []
    for index, example, (a, b), aspect in matches:
        first, second = answers[a][index], answers[b][index]
        if not _equal(first, second):
            name = f"{example.id}/{a}-{b}/{aspect}"
            comparisons.append(Comparison(name, example, aspect, first, second))
            comparisons.append(Comparison(name, example, aspect, second, first))
    verdicts = judge.compare(comparisons) if comparisons else iter(())
    judgements = []
    for index, example, (a, b), aspect in matches:
        if _equal(answers[a][index], answers[b][index]):
            judgements.append(_judgement(example, (a, b), aspect, None, None, "tie", EQUAL))
        else:
            judgements.append(_settle(example, (a, b), aspect, next(verdicts), next(verdicts)))
    # Nothing is left, but only asking for more lets the judge close what it opened.
    assert next(verdicts, None) is None
    return judgements


def _equal(first: str, second: str) -> bool:
    return first.split() == second.split()


def _settle(
    example: Example,
    matchup: Matchup,
    aspect: str,
    forward: Preferred | Failure,
    backward: Preferred | Failure,
) -> Judgement:
    """The judgement that the verdicts of both orders make."""
    one, other = _side(forward, "a", "b"), _side(backward, "b", "a")
    if one is None or other is None:
        orders = {"forward": forward, "backward": backward}
        reasons = [f"{order}: {v.reason}" for order, v in orders.items() if isinstance(v, Failure)]
        return _judgement(example, matchup, aspect, one, other, "unjudged", "; ".join(reasons))
    outcome = _OUTCOMES[one] if one == other else "tie"
    return _judgement(example, matchup, aspect, one, other, outcome, None)


def _side(verdict: Preferred | Failure, first: Side, second: Side) -> Side | None:
    """Whose answer a verdict prefers; None where there is no verdict."""
    if isinstance(verdict, Failure):
        return None
    sides: dict[Preferred, Side] = {"first": first, "second": second, "tie": "tie"}
    return sides[verdict]


def _judgement(
    example: Example,
    matchup: Matchup,
    aspect: str,
    forward: Side | None,
    backward: Side | None,
    outcome: Outcome,
    reason: str | None,
) -> Judgement:
    a, b = matchup
    return Judgement(
        id=f"{example.id}/{a}-{b}/{aspect}",
        question=example.id,
        a=a,
        b=b,
        aspect=aspect,
        forward=forward,
        backward=backward,
        outcome=outcome,
        reason=reason,
    )
