"""What stands in place of deleted facts, so that the rejected side of completeness is about as long as the
chosen one: a kept fact said again, or a fact of another record that is beside the question."""

from __future__ import annotations

from bisect import bisect
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Literal

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
    for place, slot in enumerate(slots):
        if slot is not None:
            continue
        missing += len(words(facts[place]))
        left = left or list(candidates)
        best = min(left, key=lambda fact: abs(missing - len(words(fact))), default=None)
        if best is None or abs(missing - len(words(best))) >= missing:
            continue
        result[place] = best
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


class Others:
    """The facts of records, on a ring by the hash of seed and id: one more record changes few neighbours."""

    def __init__(self, records: Sequence[Facts], depends_on: Dependence, seed: int) -> None:
        self._seed, self._depends_on = seed, depends_on
        self._ring = sorted((digest(seed, "fill", record.id), record.id, record) for record in records)
        asked = Counter(word for record in records for word in set(words(record.question)))
        self._rare = {word for word, count in asked.items() if count <= max(1, len(records) // _RARE)}

    def beside(self, record: Facts) -> Iterator[str]:
        """Facts of the records that follow on the ring, one a record, which are beside the record's question:
        neither they nor their questions have a word that is rare in questions and stands in this one."""
        about = self._rare & set(words(record.question))
        own = {normal_form(fact) for fact in record.facts}
        start = bisect(self._ring, digest(self._seed, "fill", record.id), key=lambda each: each[0])
        for _, _, other in self._ring[start:] + self._ring[:start]:
            if other.id == record.id or about & set(words(other.question)):
                continue
            for fact, before in zip(other.facts, self._depends_on(other.facts), strict=True):
                if before is None and normal_form(fact) not in own and not about & set(words(fact)):
                    yield fact
                    break
