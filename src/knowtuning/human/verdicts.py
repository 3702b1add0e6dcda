"""From votes on items to verdicts on pairs: orders joined, then annotators."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from knowtuning.human.items import KeyItem

Choice = Literal["first", "second", "tie"]
Outcome = Literal["win", "tie", "lose"]
# What an annotator writes -> what it means. The order is that of the buttons.
CHOICES: dict[str, Choice] = {"1": "first", "2": "second", "tie": "tie"}


@dataclass(frozen=True)
class Vote:
    """One annotator's choice between the two answers of an item, in one aspect."""

    annotator: str
    item: str
    aspect: str
    choice: Choice


@dataclass(frozen=True, order=True)
class Case:
    """What a verdict is about: a question, a pair of systems, an aspect."""

    question: str
    a: str
    b: str
    aspect: str


@dataclass(frozen=True)
class Verdicts:
    """outcomes: case -> annotator -> outcome, seen from a. equal: cases that are ties unasked.

    orders: annotator -> (cases seen in both orders, those judged alike in both). firsts: annotator ->
    (votes for an answer, those for the one shown first). half: cases an annotator judged in one of two
    orders only, which give no verdict.
    """

    outcomes: Mapping[Case, Mapping[str, Outcome]]
    equal: frozenset[Case]
    orders: Mapping[str, tuple[int, int]]
    firsts: Mapping[str, tuple[int, int]]
    half: int

    @property
    def annotators(self) -> list[str]:
        return sorted(self.firsts)

    def consensus(self) -> dict[Case, Outcome]:
        """One outcome a case: what more annotators say than anything else; without that, a tie."""
        asked = {case: majority(votes.values()) for case, votes in self.outcomes.items()}
        return asked | dict.fromkeys(self.equal, "tie")


def majority(outcomes: Iterable[Outcome]) -> Outcome:
    """The most frequent of some outcomes, `tie` where two are equally frequent."""
    ranked = Counter(outcomes).most_common(2)
    return "tie" if len(ranked) > 1 and ranked[0][1] == ranked[1][1] else ranked[0][0]


def join(votes: Sequence[Vote], key: Mapping[str, KeyItem], aspects: Sequence[str]) -> Verdicts:
    """Verdicts of every annotator on every pair.

    A pair shown in both orders is won or lost only if the annotator says so in both; else it is a tie. One
    judged in one of its two orders only has no verdict. Raises ValueError where somebody has two votes on one
    item, which would pass for both orders.
    """
    cast = Counter((vote.annotator, vote.item, vote.aspect) for vote in votes)
    for (annotator, name, aspect), count in cast.most_common(1):
        if count > 1:
            raise ValueError(
                f"{annotator} has {count} votes on {name} in {aspect}; expected one; give each sheet and "
                "export once, and sheets of different people different names"
            )
    shown = Counter((each.question, each.a, each.b) for each in key.values())
    table: dict[Case, dict[str, list[Outcome]]] = defaultdict(lambda: defaultdict(list))
    for vote in votes:
        item = key[vote.item]
        case = Case(item.question, item.a, item.b, vote.aspect)
        preferred: Outcome = "win" if (vote.choice == "first") == (item.first == "a") else "lose"
        table[case][vote.annotator].append("tie" if vote.choice == "tie" else preferred)
    joined: dict[Case, dict[str, Outcome]] = {}
    orders: dict[str, tuple[int, int]] = defaultdict(lambda: (0, 0))
    half = 0
    for case, by_annotator in sorted(table.items()):
        for annotator, outcomes in sorted(by_annotator.items()):
            if len(outcomes) < shown[case.question, case.a, case.b]:
                half += 1
                continue
            joined.setdefault(case, {})[annotator] = outcomes[0] if len(set(outcomes)) == 1 else "tie"
            if len(outcomes) == 2:
                both, alike = orders[annotator]
                orders[annotator] = (both + 1, alike + (outcomes[0] == outcomes[1]))
    chosen = Counter(vote.annotator for vote in votes if vote.choice != "tie")
    first = Counter(vote.annotator for vote in votes if vote.choice == "first")
    firsts = {vote.annotator: (chosen[vote.annotator], first[vote.annotator]) for vote in votes}
    equal = {Case(k.question, k.a, k.b, aspect) for k in key.values() if k.equal for aspect in aspects}
    return Verdicts(joined, frozenset(equal), dict(orders), firsts, half)
