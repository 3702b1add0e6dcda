"""Signs that facts hang together in their order: one that must stand before another. A list has none."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from knowtuning.teacher.english.grammar import parse
from knowtuning.teacher.english.words import is_english, pattern, word_list


def links_of(facts: Sequence[str]) -> list[tuple[int, int]] | None:
    """Pairs of facts of which the first must stand before the second, one a sign; None if not English."""
    if not is_english(" ".join(facts)):
        return None
    going_on = [at for at, fact in enumerate(facts) if at and pattern("goes_on").search(fact)]
    links = [(at - 1, at) for at in going_on] + _dated(facts)
    for first, fact in enumerate(facts):
        rules = [rf"(?<![\w-]){rule}(?:s|['’]s)?(?![\w-])" for rule in dict.fromkeys(_introduced(fact))]
        new = [rule for rule in rules if not re.search(rule, " ".join(facts[:first]), re.I)]
        after = range(first + 1, len(facts))
        links += [(first, at) for rule in new for at in after if re.search(rule, facts[at], re.I)]
    return links


def _introduced(fact: str) -> Iterator[str]:
    """What a fact defines, speaks of as new or names in full: rules for how later facts come back to it."""
    clause = parse(fact)
    copula = clause is not None and clause.verb in {"is", "are", "was", "were"}
    named = clause is not None and clause.bare_subject.lower() not in {"there", *word_list("personal")}
    if clause is not None and named and copula and pattern("defines").match(clause.rest):
        yield re.escape(re.sub(r"^(?:The|An?) ", "", clause.bare_subject))
    for match in pattern("new_noun").finditer(fact):
        if match["noun"] not in word_list("vague"):
            yield rf"(?:the|these|those|its|their) (?:\w+ )?{match['noun']}"
    yield from (match["short"] for match in pattern("acronym").finditer(fact))
    yield from (rf"(?<!{name['first']} ){name['last']}" for name in pattern("full_name").finditer(fact))


def _dated(facts: Sequence[str]) -> list[tuple[int, int]]:
    """Facts in the order of their years, if all that have a year are in it."""
    matches = [(pattern("any_year").search(fact), at) for at, fact in enumerate(facts)]
    years = [(int(match[0]), at) for match, at in matches if match is not None]
    later = [(at, other) for year, at in years for next_year, other in years if next_year > year]
    return later if years == sorted(years) else []
