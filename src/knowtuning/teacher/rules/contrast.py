"""Opposites: antonyms and members of sets that exclude each other."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache

from knowtuning.teacher.rules import verbs
from knowtuning.teacher.rules.phrases import Found, PhraseTable
from knowtuning.teacher.rules.tables import (
    ANTONYM_BLOCKED_BEFORE,
    ANTONYM_BLOCKED_NEXT,
    ANTONYM_PHRASES,
    ANTONYM_VERBS,
    ANTONYMS,
    CONTRAST_SETS,
)
from knowtuning.teacher.rules.tokens import capitalise, inside, protected_spans, replace


@cache
def antonyms() -> dict[str, str]:
    """Word or phrase -> its opposite, in both directions; the first entry of a word holds."""
    pairs = [tuple(pair.split("/")) for pair in ANTONYMS.split()]
    for pair in ANTONYM_VERBS.split():
        one, other = pair.split("/")
        pairs += [(form(one), form(other)) for form in (str, verbs.third_person, verbs.past, verbs.gerund)]
    table: dict[str, str] = {}
    for one, other in [*ANTONYM_PHRASES, *pairs]:
        table.setdefault(one, other)
    for one, other in [*ANTONYM_PHRASES, *pairs]:
        table.setdefault(other, one)
    return table


@cache
def _antonym_table() -> PhraseTable:
    return PhraseTable(antonyms())


def antonym_swaps(fact: str, question: str) -> Iterator[str]:
    """The fact with one word turned into its opposite; words inside names and quotations stay."""
    spans = protected_spans(fact)
    for found in _antonym_table().find(fact):
        capital = fact[found.start].isupper() and found.phrase.islower()
        if inside(found.start, spans) or (capital and found.start) or _blocked(fact, found):
            continue
        other = antonyms()[found.phrase]
        if other == "less" and _is_plural(fact[found.end :]):
            other = "fewer"
        yield replace(fact, found.start, found.end, capitalise(other) if capital else other)


def _is_plural(rest: str) -> bool:
    noun = re.match(r" (?:[a-z]+ )?([a-z]+s)\b", rest)
    return noun is not None and not noun.group(1).endswith("ss")


def _blocked(fact: str, found: Found) -> bool:
    """Whether the neighbours show another sense of the word: "in order to", "General Grant"."""
    after = fact[found.end :].lower().split()
    before = fact[: found.start].lower().split()
    following = after[0].strip(".,;:") if after and fact[found.end] == " " else ""
    previous = before[-1].strip(".,;:(") if before else ""
    titled = fact[found.start].isupper() and fact[found.end : found.end + 2].strip()[:1].isupper()
    return (
        titled
        or following in ANTONYM_BLOCKED_NEXT.get(found.phrase, "").split()
        or previous in ANTONYM_BLOCKED_BEFORE.get(found.phrase, "").split()
    )


@cache
def _contrast_table() -> PhraseTable:
    return PhraseTable(contrast_words())


@cache
def contrast_words() -> frozenset[str]:
    """Members of all contrast sets."""
    return frozenset(word for group in CONTRAST_SETS for word in group)


def contrast_swaps(fact: str, question: str) -> Iterator[str]:
    """The fact with a month, colour, country ... exchanged for another that neither text names."""
    spans = protected_spans(fact)
    for found in _contrast_table().find(fact):
        if found.phrase in question or inside(found.start, spans) or _in_name(fact, found):
            continue
        for group in CONTRAST_SETS:
            if found.phrase in group:
                others = [other for other in group if other not in fact and other not in question]
                yield from (replace(fact, found.start, found.end, other) for other in others)


def _in_name(fact: str, found: Found) -> bool:
    """Whether a match is part of a longer name, or opens the sentence as its subject."""
    before = fact[: found.start].split()
    after = fact[found.end : found.end + 2]
    if fact[found.start].islower():
        return after.strip()[:1].isupper() or (len(before) > 1 and before[-1][:1].isupper())
    opens_sentence = not before or fact[found.start] != found.phrase[0]
    joined = len(before) > 1 and before[-1][:1].isupper() and before[-1][-1] not in ",."
    return opens_sentence or joined or (after[:1] == " " and after[1:].isupper())
