"""The aspects in which answers differ: one entry an aspect, from the rejected side to the verdict.

Perturb makes the rejected side of its pairs, the judge and the annotators are asked its questions, the exact
verifier decides by its rule, and `perturb.aspects` switches it on: dropping one is that aspect's ablation.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import ceil, floor
from typing import Any

from knowtuning.core.numbers import entailed, exact_share, same, tokens
from knowtuning.core.records import Facts
from knowtuning.core.storage import record_rng
from knowtuning.core.text import STOPS
from knowtuning.teacher.judging import Preferred
from knowtuning.teacher.tasks import Dependence, Failure, Links, Revise, Task, independent
from knowtuning.world.verifier import Verification


@dataclass(frozen=True)
class Perturbation:
    """What the rejected facts of a record may depend on.

    beta_delete: share of facts to delete (0..1). revise_share: share of facts to revise (0..1], at least one.
    depends_on: which facts lean on others. links: which must stand before which; None: every order but their
    own is worse.
    """

    seed: int
    beta_delete: float
    revise_share: float = 1.0
    depends_on: Dependence = independent
    links: Links | None = None


# What replaces each of a record's facts on the rejected side, None where nothing does; or None where a record
# has too few facts to be made worse in this way, and a failure where it would be no worse. The last argument
# is the teacher's reply to the aspect's task.
Rejected = Sequence[str | None] | Failure | None
Reject = Callable[[Facts, Perturbation, Any], Rejected]


@dataclass(frozen=True)
class Criterion:
    """How two answers are compared: what a judge is told, and the better one by the verifier's counts."""

    definition: str
    prefer: Callable[[Verification, Verification], Preferred]


@dataclass(frozen=True, kw_only=True)
class Aspect(Criterion):
    """One way in which an answer can be better or worse.

    ablation: the experiment without it (experiments/), and what that is called. reject: makes the rejected
    facts. least: facts that a record needs for it. task: what the teacher is asked first. no_worse: whether a
    rejected text is no worse than the chosen one, given in this order. question: what annotators are asked.
    """

    ablation: tuple[str, str]
    reject: Reject
    question: str
    least: int = 2
    task: Callable[[Facts, Perturbation], Task] | None = None
    no_worse: Callable[[str, str], bool] = same


def deleted_indices(depends: Sequence[int | None], beta: float, *, seed: int, record_id: str) -> list[int]:
    """Indices of floor(beta * |K|) facts to delete, at least one and at most |K| - 1, in order.

    depends: for each fact the one before it that it leans on, or None. A fact goes with all that lean on it;
    the first stays, for the others speak of what it says. What is drawn is an order of the others, all
    equally likely: by it they go, and one that would take more along than may go waits until it does not. The
    order depends on the seed, the record's id and |K| alone. Needs two facts or more.
    """
    size = len(depends)
    assert size >= 2, f"{record_id}: deletion needs two facts, found {size}"
    count = min(max(1, floor(exact_share(beta, size))), size - 1)
    order = record_rng(seed, "delete", record_id).sample(range(1, size), size - 1)
    groups = [{index} for index in range(size)]
    for index in reversed(range(size)):
        leaned_on = depends[index]
        if leaned_on is not None:
            groups[leaned_on] |= groups[index]
    deleted: set[int] = set()
    while len(deleted) < count:
        # Nothing leans on the last fact that is left, so that one always fits.
        deleted |= next(groups[i] for i in order if i not in deleted and len(deleted | groups[i]) <= count)
    return sorted(deleted)


_LEAST_BROKEN = 2  # links of facts whose order can be broken: one sign alone is often wrong


def shuffled_indices(
    depends: Sequence[int | None],
    *,
    seed: int,
    record_id: str,
    links: Sequence[tuple[int, int]] | None = None,
) -> list[int] | None:
    """Indices of the facts in a random order other than their own; None where they have no worse one.

    depends: for each fact the one before it that it leans on, or None. A fact and all that lean on it move as
    one block, in their order; every order of the blocks other than their own is equally likely. links: pairs
    of facts, the first of which must stand before the second; only orders that turn two of them are drawn.
    """
    blocks: dict[int, list[int]] = {}
    firsts: list[int] = []
    for index, leaned_on in enumerate(depends):
        firsts.append(index if leaned_on is None else firsts[leaned_on])
        blocks.setdefault(firsts[index], []).append(index)
    rng = record_rng(seed, "shuffle", record_id)
    order = list(blocks)
    between = [(firsts[a], firsts[b]) for a, b in links or () if firsts[a] != firsts[b]]
    least = 0 if links is None else _LEAST_BROKEN
    if len(order) < 2 or len(between) < least:
        return None
    while order == sorted(order) or _turned(order, between) < least:
        rng.shuffle(order)
    return [index for first in order for index in blocks[first]]


def _turned(order: Sequence[int], links: Sequence[tuple[int, int]]) -> int:
    """How many links have their second before their first."""
    position = {block: index for index, block in enumerate(order)}
    return sum(position[first] > position[second] for first, second in links)


def revised_indices(record: Facts, how: Perturbation) -> list[int]:
    """Indices of the ceil(revise_share * |K|) facts of a record to revise, drawn by record, in order."""
    count = ceil(exact_share(how.revise_share, len(record.facts)))
    return sorted(record_rng(how.seed, "revise", record.id).sample(range(len(record.facts)), count))


def higher(first: int, second: int) -> Preferred:
    """The answer with more of something; equal is a tie."""
    if first == second:
        return "tie"
    return "first" if first > second else "second"


def says_all(chosen: str, rejected: str) -> bool:
    """Whether every sentence and line of one text stands in the other, but for how it is written."""
    text = _run(rejected)
    return all(_run(sentence) in text for sentence in re.split(rf"(?<=[{STOPS}])(?<![:;])\s*|\n", chosen))


def _run(text: str) -> str:
    return "".join(f" {token}" for token in tokens(text)) + " "


_NO_ORDER = (
    "logicality: found no sign that the order of the facts matters; expected two that a shuffle breaks"
)


def _incomplete(record: Facts, how: Perturbation, reply: Any) -> Rejected:
    depends = how.depends_on(record.facts)
    deleted = deleted_indices(depends, how.beta_delete, seed=how.seed, record_id=record.id)
    return [None if index in deleted else fact for index, fact in enumerate(record.facts)]


def _revise(record: Facts, how: Perturbation) -> Task:
    facts = tuple(record.facts[index] for index in revised_indices(record, how))
    return Revise(id=record.id, question=record.question, facts=facts)


def _revised(record: Facts, how: Perturbation, reply: Any) -> Rejected:
    false = dict(zip(revised_indices(record, how), reply.facts, strict=True))
    return [false.get(index, fact) for index, fact in enumerate(record.facts)]


def _illogical(record: Facts, how: Perturbation, reply: Any) -> Rejected:
    depends, links = how.depends_on(record.facts), how.links and how.links(record.facts)
    order = shuffled_indices(depends, seed=how.seed, record_id=record.id, links=links)
    if order is None and links is not None:
        return Failure(reason=_NO_ORDER, expected=True)
    return None if order is None else [record.facts[index] for index in order]


ASPECTS: dict[str, Aspect] = {
    "completeness": Aspect(
        ablation=("no-kcc", "−KCC: no pairs that lack facts"),
        reject=_incomplete,
        no_worse=says_all,
        definition="it gives more of the information that the question asks for and the reference answer "
        "holds. Information that is wrong or beside the question adds nothing.",
        question="Which answer tells more of what the question asks for?",
        # More distinct correct facts of those asked for.
        prefer=lambda first, second: higher(first.covered, second.covered),
    ),
    "factuality": Aspect(
        ablation=("no-kfc", "−KFC: no pairs with false facts"),
        reject=_revised,
        no_worse=entailed,
        task=_revise,
        least=1,
        definition="it says less that is wrong. What contradicts the reference answer is wrong; what is "
        "missing is not.",
        question="Which answer has fewer false statements?",
        # An answer that states nothing has no false statement.
        prefer=lambda first, second: higher(second.incorrect, first.incorrect),
    ),
    "logicality": Aspect(
        ablation=("no-klc", "−KLC: no pairs with shuffled facts"),
        reject=_illogical,
        # Of two facts either order is as good.
        least=3,
        definition="its information comes in a better order, follows from one piece to the next, and does "
        "not contradict itself. What it says and how much of it does not matter.",
        question="Which answer is in better order and hangs together better?",
        # A higher share of pairs of facts in canonical order, as whole numbers: both multiplied by both
        # denominators. A tie where one of the answers has no two facts to order.
        prefer=lambda first, second: higher(first.concordant * second.pairs, second.concordant * first.pairs),
    ),
}


def _better(first: Verification, second: Verification) -> Preferred:
    """More distinct correct facts of those asked for; where these are equal, fewer false statements."""
    more = higher(first.covered, second.covered)
    return higher(second.incorrect, first.incorrect) if more == "tie" else more


# For RLAIF, whose judge is asked for no aspect.
OVERALL = "overall quality"
CRITERIA: dict[str, Criterion] = {
    **ASPECTS,
    OVERALL: Criterion(
        definition="a person who asked the question would rather have it, all in all: it answers the "
        "question, is right, tells what is needed and is well put.",
        prefer=_better,
    ),
}


def join(facts: Iterable[str | None], between: str = " ") -> str:
    """Facts as one text, in their order (the concatenation of the paper)."""
    return between.join(fact.strip() for fact in facts if fact is not None)
