"""False facts: borrowed from other records where one fits, else with another value; the rest stay.

The ends of facts that go on alike ("… was founded by") are fluent and plausible for each other, and false.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from knowtuning.core.numbers import entailed
from knowtuning.core.text import normal_form
from knowtuning.teacher.english import words as lists
from knowtuning.teacher.english.asking import topic_of
from knowtuning.teacher.english.grammar import has_reference, kind_of, parse, words_of
from knowtuning.teacher.english.values import Values

Record = tuple[str, str, Sequence[str]]  # id, question, facts
_MAX_WORDS = 40  # of a fact that lends or borrows
_LIKE = 1.8  # how much longer or shorter a borrowed end may be
# What says nothing of its own: it is true of much.
_VAGUE = lists.word_list("vague")
# Questions that ask for anything: answers are of one kind only where an agent or a place is named.
_BROAD = frozenset({"what is t", "what are t", "what is a t", "what is the t", "tell me about t", "who is t"})
_BY_PLACE = frozenset({"by", "in", "at", "on", "near"})


class _Fact(NamedTuple):
    """A fact of a record. cue: its verb and what comes next; end: the rest. record_words: of all of it."""

    text: str
    kind: str
    topic: str
    cue: tuple[str, ...]
    end: str
    record_words: frozenset[str]


def _described(question: str, facts: Sequence[str]) -> Iterator[_Fact]:
    everything = " ".join(facts)
    topic = topic_of(question, everything)
    record_words = frozenset(word.lower for word in words_of(f"{question} {everything}"))
    asked = words_of(question.replace(topic or " ", " T ", 1))
    kind = " ".join(word.lower for word in asked if word.text.isalnum())
    for text in facts:
        cue = _cue(text, topic)
        if cue is not None:
            yield _Fact(text, kind, topic, *cue, record_words)


def _cue(text: str, topic: str) -> tuple[tuple[str, ...], str] | None:
    """How a fact goes on after its topic: the verb and words up to a preposition, and the rest."""
    clause = parse(text)
    if clause is None or not topic or ". " in text or topic.casefold() not in clause.bare_subject.casefold():
        return None
    rest = words_of(clause.rest)
    if len(clause.bare_subject.split()) - len(topic.split()) > 1 or not 3 < len(rest) < _MAX_WORDS:
        return None
    stop = next((index for index, word in enumerate(rest[:6]) if word.lower in lists.PREPOSITIONS), None)
    if stop is None or (rest[stop - 1].lower in _VAGUE if stop else clause.verb.lower() in lists.AUXILIARIES):
        return None
    stop += any(word.lower in {"the", "a", "an"} for word in rest[stop + 1 : stop + 2])
    cue = (clause.verb.lower(), *(word.lower for word in rest[: stop + 1]))
    return (cue, clause.rest[rest[stop].end :]) if rest[stop + 1 :] else None


def _fits(fact: _Fact, other: _Fact) -> bool:
    """Whether the end of another record's fact is fit for this one, and says what its record does not."""
    if fact.topic.lower() == other.topic.lower() or fact.kind != other.kind:
        return False
    if fact.kind in _BROAD and not _BY_PLACE & {fact.cue[-1], fact.cue[-2]}:
        return False
    ours, new = ({word.lower for word in words_of(text)} for text in (fact.end, other.end))
    wanted, size = len(fact.end.split()), len(other.end.split())
    if not wanted / _LIKE - 3 <= size <= wanted * _LIKE + 3 or has_reference(f"X {other.end}"):
        return False
    owner = {word.lower for word in words_of(other.topic)} - lists.FUNCTION_WORDS - _VAGUE
    if new & (owner | lists.PERSONAL | {"also", "("}) or fact.end[-1] != other.end[-1]:
        return False
    telling = {word for word in new - lists.FUNCTION_WORDS - _VAGUE if word[0].isalnum()}
    return bool(telling) and len(telling - fact.record_words) * 2 > len(telling) and bool(ours - new)


class Reviser:
    """Revises facts of `records`; `more` facts lend their numbers alone. Seed, record and fact choose."""

    def __init__(self, seed: int, records: Sequence[Record], more: Sequence[str] = ()) -> None:
        self._seed = seed
        every = dict.fromkeys([*(fact for _, _, facts in records for fact in facts), *more])
        self._values = Values(every)
        self._true = frozenset(map(normal_form, every))
        # The facts by how they go on after their topic.
        self._facts: dict[tuple[str, str], _Fact] = {}
        self._cues: dict[tuple[str, ...], dict[str, _Fact]] = defaultdict(dict)
        for record, question, facts in records:
            for fact in _described(question, facts):
                self._facts[record, fact.text] = self._cues[fact.cue][fact.end] = fact

    def revise(self, record: str, question: str, facts: Sequence[str]) -> list[str]:
        """The facts, each false where one change can make it so. Raises ValueError where none can."""
        revised: list[str] = []
        for fact in facts:
            versions = (text for text in self._versions(record, question, fact) if not entailed(fact, text))
            new = (text for text in versions if normal_form(text) not in self._true and text not in revised)
            revised.append(next(new, fact))
        if revised == list(facts):
            raise ValueError("found no fact that another value makes false; expected at least one")
        return revised

    def _versions(self, record: str, question: str, text: str) -> Iterator[str]:
        """The fact with the ends of other records' that answer such a question, then with other values."""
        if kind_of(text) != "statement":
            return
        key = (self._seed, record, text)
        fact = self._facts.get((record, text))
        if fact is not None:
            others = self._cues[fact.cue]
            fitting = (end for end in lists.ranked(others, *key) if _fits(fact, others[end]))
            yield from (text.removesuffix(fact.end) + end for end in fitting)
        yield from self._values.false_versions(text, question, *key)
