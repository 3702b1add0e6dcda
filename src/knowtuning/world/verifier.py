"""The exact verifier: reads an answer back into facts and compares them with the world."""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from knowtuning.core.records import Example, Verdict
from knowtuning.core.storage import read_json
from knowtuning.world.wording import NAMES, Statement, Town, read_sentence, read_text


@dataclass(frozen=True)
class Cue:
    """The beginning of a sentence up to its value, and the value that completes it."""

    prefix: str
    value: str


@dataclass(frozen=True)
class Verification:
    """What an answer states about the town it was asked about.

    correct: distinct true facts; incorrect: false statements; duplicate: true facts stated again;
    unparsed: clauses that state nothing about that town. asked, covered: facts the question asks for,
    and those of them the answer states correctly. concordant, pairs: pairs of distinct true facts in
    canonical order, and all such pairs.
    """

    correct: int
    incorrect: int
    unparsed: int
    duplicate: int
    asked: int
    covered: int
    concordant: int
    pairs: int
    sentences: tuple[tuple[str, Verdict], ...]


class Truth:
    """All facts of a closed world."""

    def __init__(self, towns: dict[str, Town]) -> None:
        self.towns = towns

    @classmethod
    def find(cls, path: Path) -> Truth | None:
        """That of the truth.json that `prepare` wrote; None where the data have no ground truth."""
        towns = read_json(path)["towns"]
        return cls(towns) if towns else None

    def cue(self, fact: str) -> Cue | None:
        """How to ask a language model for the value of a fact; None where `fact` has no known form."""
        statement = read_sentence(fact)
        if statement is None:
            return None
        return Cue(fact[: statement.value_start].rstrip(), statement.value)

    def holds(self, entity: str, attribute: str, value: str) -> bool:
        """Whether the world has this fact."""
        return self.towns.get(entity, {}).get(attribute) == value

    def verify(self, example: Example, answer: str) -> Verification:
        """Judge every clause of an answer.

        A true statement about another town answers nothing and counts as unparsed; a false one, about
        whatever town, counts as incorrect.
        """
        entity, asked = str(example.meta["entity"]), list(example.meta["attributes"])
        stated: list[str] = []
        verdicts = [(text, self._verdict(said, entity, stated)) for text, said in read_text(answer)]
        counts = Counter(verdict for _, verdict in verdicts)
        # Canonical order is that of the table, and each attribute is stated once.
        pairs = list(itertools.combinations(map(NAMES.index, stated), 2))
        return Verification(
            correct=len(stated),
            incorrect=counts["incorrect"],
            unparsed=counts["unparsed"],
            duplicate=counts["duplicate"],
            asked=len(asked),
            covered=len(set(stated) & set(asked)),
            concordant=sum(first < second for first, second in pairs),
            pairs=len(pairs),
            sentences=tuple(verdicts),
        )

    def _verdict(self, statement: Statement | None, entity: str, stated: list[str]) -> Verdict:
        """The verdict on one clause; a new true fact is added to `stated`."""
        if statement is None:
            return "unparsed"
        if not self.holds(statement.entity, statement.attribute, statement.value):
            return "incorrect"
        if statement.entity != entity:
            return "unparsed"
        if statement.attribute in stated:
            return "duplicate"
        stated.append(statement.attribute)
        return "correct"
