"""Signs that facts hang together in their order: one that must stand before another. A list has none."""

from __future__ import annotations

import re
from collections.abc import Sequence

from knowtuning.teacher.english.grammar import parse, words_of
from knowtuning.teacher.english.text import is_english
from knowtuning.teacher.english.words import FUNCTION_WORDS, pattern, word_list


def links_of(facts: Sequence[str]) -> list[tuple[int, int]] | None:
    """Pairs of facts of which the first must stand before the second; one of them may be there twice, for
    two signs. None for what is not English."""
    if not is_english(" ".join(facts)):
        return None
    links: list[tuple[int, int]] = []
    seen = ""
    for first, fact in enumerate(facts):
        after = range(first + 1, len(facts))
        for rule in map(_whole, _introduced(fact, seen)):
            links += [(first, second) for second in after if rule.search(facts[second])]
        if first and pattern("goes_on").search(fact):
            links.append((first - 1, first))
        seen += f" {fact}"
    return links + _dated(facts)


def _introduced(fact: str, seen: str) -> set[str]:
    """What a fact defines, names in full or speaks of as new, as a rule for how later facts come back to it."""
    clause = parse(fact)
    rules = set()
    if clause is not None and clause.verb in {"is", "are", "was", "were"} and len(clause.bare_subject.split()) < 8:
        subject = re.sub(r"^(?:The|An?) ", "", clause.bare_subject)
        telling = {word.lower for word in words_of(subject)} - FUNCTION_WORDS
        if telling and pattern("defines").match(clause.rest):
            rules.add(re.escape(subject))
    rules |= {rf"(?:the|these|those|its|their) (?:\w+ )?{re.escape(m['noun'])}" for m in pattern("new_noun").finditer(fact) if m["noun"] not in word_list("vague")}
    rules |= {re.escape(match["short"]) for match in pattern("acronym").finditer(fact)}
    rules |= {rf"(?<!{re.escape(m['first'])} ){m['last']}" for m in pattern("full_name").finditer(fact)}
    return {rule for rule in rules if not _whole(rule).search(seen)}


def _whole(rule: str) -> re.Pattern[str]:
    return re.compile(rf"(?<![\w-]){rule}(?:s|['’]s)?(?![\w-])", re.I if rule.islower() else 0)


def _dated(facts: Sequence[str]) -> list[tuple[int, int]]:
    """Facts in the order of their years, if all that have a year are in it."""
    years = [(int(match[0]), index) for index, fact in enumerate(facts) if (match := re.search(r"\b1\d{3}\b|\b20[0-2]\d\b", fact))]
    if years != sorted(years):
        return []
    return [(index, other) for year, index in years for later, other in years if later > year]
