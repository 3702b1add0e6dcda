"""Turning a fact into a false but plausible one by the first rule of a ladder that fits."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Literal

from knowtuning.core.text import normal_form
from knowtuning.teacher.rules.choice import ranked
from knowtuning.teacher.rules.contrast import antonym_swaps, contrast_swaps
from knowtuning.teacher.rules.corpus import Corpus
from knowtuning.teacher.rules.frames import subject_of
from knowtuning.teacher.rules.negation import denials
from knowtuning.teacher.rules.numbers import number_swaps
from knowtuning.teacher.rules.tokens import inside, is_capitalised, names, protected_spans, replace, tokenise

Rule = Literal["value", "number", "name", "item", "antonym", "negation"]
_MAX_WALK = 40


@dataclass(frozen=True)
class Revision:
    """A false fact and the rule that made it."""

    text: str
    rule: Rule


class Reviser:
    """Revises facts against a corpus. Choices depend on (seed, record id, candidate) alone."""

    def __init__(self, seed: int, corpus: Corpus) -> None:
        self._seed = seed
        self._corpus = corpus

    def revise(self, record_id: str, question: str, facts: Sequence[str]) -> list[Revision]:
        """One false fact per fact, in order.

        None equals a fact of the record or of the corpus, or another revision of the record.
        """
        taken = {normal_form(fact) for fact in facts}
        revisions = []
        for fact in facts:
            revision = self._first(record_id, question, fact, facts, taken)
            taken.add(normal_form(revision.text))
            revisions.append(revision)
        return revisions

    def _first(
        self, record_id: str, question: str, fact: str, facts: Sequence[str], taken: set[str]
    ) -> Revision:
        for rule, candidates in self._ladder(record_id, question, fact, " ".join(facts)):
            for candidate in candidates:
                form = normal_form(candidate)
                if form not in taken and form not in self._corpus.forms:
                    return Revision(candidate, rule)
        raise ValueError(f"no false version of the fact {fact!r}; expected a sentence")

    def _ladder(
        self, record_id: str, question: str, fact: str, record: str
    ) -> Iterator[tuple[Rule, Iterable[str]]]:
        key = (self._seed, "revise", record_id)
        subject = subject_of(fact, question)
        yield "value", self._value_swaps(key, fact, subject, record)
        yield "number", ranked(number_swaps(fact, question), *key)
        yield "name", self._name_swaps(key, fact, question, record, subject)
        yield "item", self._item_swaps(key, fact, question, record)
        yield "antonym", ranked(antonym_swaps(fact, question), *key)
        yield "negation", denials(fact, self._corpus.vocabulary)

    def _value_swaps(self, key: tuple, fact: str, subject: str, record: str) -> Iterator[str]:
        """The value exchanged for one that other facts hold in the same frame, the tightest frame first."""
        known = f"{record}\n{subject}".casefold()
        for slot in self._corpus.frames.slots(fact, subject):
            values = [value for value in slot.values if value.casefold() not in known]
            yield from (replace(fact, slot.start, slot.end, value) for value in ranked(values, *key, fact))

    def _name_swaps(self, key: tuple, fact: str, question: str, record: str, subject: str) -> Iterator[str]:
        """A name exchanged for another of its kind: by class (months, countries), then by context."""
        yield from ranked(contrast_swaps(fact, question), *key)
        tokens, spans = tokenise(fact), protected_spans(fact)
        topic = f"{question}\n{subject}".casefold()
        known = f"{question}\n{record}".casefold()
        for name in names(tokens, fact):
            start, end = tokens[name.first].start, tokens[name.last - 1].end
            if not name.first or _overlaps(name.text, topic) or inside(start, spans) or len(name.text) < 3:
                continue
            kind = self._corpus.name_kind(name, tokens)
            ring = self._corpus.names.get(kind) if kind.context else None
            for other in islice(ring.walk(*key, fact, name.text), _MAX_WALK) if ring else ():
                if not _overlaps(other, known):
                    yield replace(fact, start, end, other)

    def _item_swaps(self, key: tuple, fact: str, question: str, record: str) -> Iterator[str]:
        """The item after a heading exchanged for an item of another list."""
        head, colon, item = fact.partition(": ")
        ring = self._corpus.items.get(len(item.split())) if colon and item[-1:] not in ".?!:" else None
        known = f"{question}\n{record}".casefold()
        for other in islice(ring.walk(*key, fact), _MAX_WALK) if ring else ():
            same_form = is_capitalised(other) == is_capitalised(item)
            if not _overlaps(other, known) and same_form:
                yield f"{head}: {other}"


def _overlaps(phrase: str, text: str) -> bool:
    """Whether a word of a phrase (of three letters or more) occurs in a case-folded text."""
    return any(word in text for word in re.findall(r"\w{3,}", phrase.casefold()))
