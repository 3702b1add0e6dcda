"""The aspects in which answers differ: one entry an aspect, from the rejected side to the verdict.

Perturb makes the rejected side of its pairs, the judge and the annotators are asked its questions, the exact
verifier decides by its rule, and `perturb.aspects` switches it on: dropping one is that aspect's ablation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from knowtuning.core.records import Facts
from knowtuning.core.storage import record_rng
from knowtuning.knowledge.shares import ceil_share, floor_share
from knowtuning.teacher.judging import Preferred
from knowtuning.teacher.tasks import Revise, Task


class Verification(Protocol):
    """What a fact verifier counts in one answer; see knowtuning.world.verifier."""

    @property
    def correct(self) -> int: ...
    @property
    def incorrect(self) -> int: ...
    @property
    def unparsed(self) -> int: ...
    @property
    def duplicate(self) -> int: ...
    @property
    def asked(self) -> int: ...
    @property
    def covered(self) -> int: ...
    @property
    def concordant(self) -> int: ...
    @property
    def pairs(self) -> int: ...


@dataclass(frozen=True)
class Perturbation:
    """What the rejected facts of a record may depend on.

    beta_delete: share of facts to delete (0..1). revise_share: share of facts to revise (0..1], at least one.
    """

    seed: int
    beta_delete: float
    revise_share: float = 1.0


# The rejected facts of a record; the last argument is the teacher's reply where the aspect has a task.
Reject = Callable[[Facts, Perturbation, Any], Sequence[str]]


@dataclass(frozen=True)
class Criterion:
    """By what two answers are compared: what a judge is told, and the better one by the exact verifier's
    counts."""

    definition: str
    prefer: Callable[[Verification, Verification], Preferred]


@dataclass(frozen=True)
class Aspect:
    """One way in which an answer can be better or worse.

    ablation: the experiment without it (experiments/), and what that is called. reject: makes the rejected
    facts. least: facts that a
    record needs for it. task: what the teacher is asked first. definition: what the judge is told makes an
    answer better. question: what annotators are asked. prefer: the better of two answers by the exact
    verifier's counts.
    """

    ablation: tuple[str, str]
    reject: Reject
    definition: str
    question: str
    prefer: Callable[[Verification, Verification], Preferred]
    least: int = 2
    task: Callable[[Facts, Perturbation], Task] | None = None


def delete_facts(facts: Sequence[str], beta: float, *, seed: int, record_id: str) -> list[str]:
    """`facts` without floor(beta * |K|) of them, at least one and at most |K| - 1; order kept.

    Needs two facts or more. Which ones go depends on the seed, the record's id and |K| alone.
    """
    assert len(facts) >= 2, f"{record_id}: deletion needs two facts, found {len(facts)}"
    count = min(max(1, floor_share(beta, len(facts))), len(facts) - 1)
    gone = set(record_rng(seed, "delete", record_id).sample(range(len(facts)), count))
    return [fact for index, fact in enumerate(facts) if index not in gone]


def shuffle_facts(facts: Sequence[str], *, seed: int, record_id: str) -> list[str]:
    """`facts` in a random order other than their own, every other order being equally likely.

    Needs two facts or more.
    """
    assert len(facts) >= 2, f"{record_id}: shuffling needs two facts, found {len(facts)}"
    rng = record_rng(seed, "shuffle", record_id)
    order = list(range(len(facts)))
    while order == sorted(order):
        rng.shuffle(order)
    return [facts[index] for index in order]


def revised_places(record: Facts, how: Perturbation) -> list[int]:
    """Indices of the ceil(revise_share * |K|) facts of a record to revise, drawn by record, in order."""
    count = ceil_share(how.revise_share, len(record.facts))
    return sorted(record_rng(how.seed, "revise", record.id).sample(range(len(record.facts)), count))


def higher(first: int, second: int) -> Preferred:
    """The answer with more of something; equal is a tie."""
    if first == second:
        return "tie"
    return "first" if first > second else "second"


def _incomplete(record: Facts, how: Perturbation, reply: Any) -> list[str]:
    return delete_facts(record.facts, how.beta_delete, seed=how.seed, record_id=record.id)


def _revise(record: Facts, how: Perturbation) -> Task:
    facts = tuple(record.facts[place] for place in revised_places(record, how))
    return Revise(id=record.id, question=record.question, facts=facts)


def _revised(record: Facts, how: Perturbation, reply: Any) -> list[str]:
    false = dict(zip(revised_places(record, how), reply.facts, strict=True))
    return [false.get(place, fact) for place, fact in enumerate(record.facts)]


def _illogical(record: Facts, how: Perturbation, reply: Any) -> list[str]:
    return shuffle_facts(record.facts, seed=how.seed, record_id=record.id)


ASPECTS: dict[str, Aspect] = {
    "completeness": Aspect(
        ablation=("no-kcc", "−KCC: no pairs that lack facts"),
        reject=_incomplete,
        definition="it gives more of the information that the question asks for and the reference answer "
        "holds. Information that is wrong or beside the question adds nothing.",
        question="Which answer tells more of what the question asks for?",
        # More distinct correct facts of those asked for.
        prefer=lambda first, second: higher(first.covered, second.covered),
    ),
    "factuality": Aspect(
        ablation=("no-kfc", "−KFC: no pairs with false facts"),
        reject=_revised,
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
CRITERIA: dict[str, Aspect | Criterion] = {
    **ASPECTS,
    OVERALL: Criterion(
        definition="a person who asked the question would rather have it, all in all: it answers the "
        "question, is right, tells what is needed and is well put.",
        prefer=_better,
    ),
}


def join(facts: Iterable[str]) -> str:
    """Facts as one text, in their order (the concatenation of the paper)."""
    return " ".join(fact.strip() for fact in facts)
