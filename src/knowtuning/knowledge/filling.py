"""What stands in place of deleted facts, so that the rejected side of completeness is about as long as the
chosen one: a kept fact said again, or a fact of another record that is beside the question."""

from __future__ import annotations

from bisect import bisect
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, islice
from typing import Literal, NamedTuple

from knowtuning.core.records import Facts
from knowtuning.core.storage import digest, record_rng
from knowtuning.core.text import normal_form, words
from knowtuning.teacher.tasks import Dependence

Fill = Literal["none", "repeat", "foreign"]
Slots = Sequence[str | None]
# Candidates for a record, its rejected facts given.
Candidates = Callable[[Facts, Slots], Sequence[str]]

_FOREIGN = 20  # candidates looked at
_RARE = 20  # a word of fewer than one question in so many tells what a question is about


def filled(slots: Slots, facts: Sequence[str], candidates: Sequence[str]) -> list[str | None]:
    """`slots` with candidates where facts were deleted, so that the words are about as many as before.

    Each place takes the candidate whose number of words is closest to what is missing up to there, those not
    used yet first and the earlier of two as close; it stays empty where that would be no closer than nothing.
    """
    result, missing, left = list(slots), 0, list(candidates)
    for position, slot in enumerate(slots):
        if slot is not None:
            continue
        missing += len(words(facts[position]))
        left = left or list(candidates)
        best = min(left, key=lambda fact: abs(missing - len(words(fact))), default=None)
        if best is None or abs(missing - len(words(best))) >= missing:
            continue
        result[position] = best
        left.remove(best)
        missing -= len(words(best))
    return result


def candidates(fill: Fill, records: Sequence[Facts], depends_on: Dependence, seed: int) -> Candidates:
    """Which facts may stand for deleted ones: only those that lean on no other."""
    if fill == "none":
        return lambda record, slots: ()
    if fill == "foreign":
        others = Others(records, depends_on, seed)
        return lambda record, slots: list(islice(others.beside(record), _FOREIGN))

    def kept(record: Facts, slots: Slots) -> list[str]:
        stand = zip(slots, depends_on(record.facts), strict=True)
        facts = [fact for fact, before in stand if fact is not None and before is None]
        record_rng(seed, "fill", record.id).shuffle(facts)
        return facts

    return kept


class _Other(NamedTuple):
    """Another record: the words of its question, and its facts that lean on no other, with their words."""

    position: str
    record: str
    asked: frozenset[str]
    facts: list[tuple[str, frozenset[str]]]


class Others:
    """The facts of records, on a ring by the hash of seed and id: one more record changes few neighbours."""

    def __init__(self, records: Sequence[Facts], depends_on: Dependence, seed: int) -> None:
        self._seed = seed
        self._ring: list[_Other] = []
        for record in records:
            stand = zip(record.facts, depends_on(record.facts), strict=True)
            facts = [(fact, frozenset(words(fact))) for fact, before in stand if before is None]
            asked_for = frozenset(words(record.question))
            self._ring.append(_Other(self._ring_key(record), record.id, asked_for, facts))
        self._ring.sort(key=lambda other: other[:2])
        asked = Counter(word for other in self._ring for word in other.asked)
        self._rare = {word for word, count in asked.items() if count <= max(2, len(records) // _RARE)}

    def _ring_key(self, record: Facts) -> str:
        return digest(self._seed, "fill", record.id)

    def beside(self, record: Facts, each: int | None = 1) -> Iterator[str]:
        """Facts of the records that follow on the ring, `each` of a record (None: all), which are beside the
        question: neither they nor their own have a word that is rare in questions and stands in it."""
        about = self._rare & set(words(record.question))
        own_facts = {normal_form(fact) for fact in record.facts}
        start = bisect(self._ring, self._ring_key(record), key=lambda other: other.position)
        for other in chain(self._ring[start:], self._ring[:start]):
            if other.record == record.id or about & other.asked:
                continue
            facts = (text for text, fact_words in other.facts if not about & fact_words)
            yield from islice((text for text in facts if normal_form(text) not in own_facts), each)
