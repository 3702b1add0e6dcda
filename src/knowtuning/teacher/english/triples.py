"""Facts as subject, predicate and object, where a fact is one plain clause."""

from __future__ import annotations

from collections.abc import Sequence

from knowtuning.teacher.english.grammar import has_reference, kind_of, parse
from knowtuning.teacher.english.words import PREPOSITIONS
from knowtuning.teacher.tasks import Triple


def triples_of(facts: Sequence[str]) -> list[Triple]:
    """The triples of the facts that are one, in their order; the others have none.

    Raises ValueError where no fact is one.
    """
    found = [triple for triple in map(_triple, facts) if triple is not None]
    if not found:
        raise ValueError(f"none of {len(facts)} facts is plainly a subject, a predicate and an object")
    return found


def _triple(fact: str) -> Triple | None:
    """A fact in three parts, which joined are its words; the predicate ends with its preposition."""
    clause = parse(fact) if kind_of(fact) == "statement" and not has_reference(fact) else None
    if clause is None:
        return None
    words = clause.rest.rstrip(".").split()
    ends = next((place + 1 for place, word in enumerate(words[:2]) if word in PREPOSITIONS), 0)
    said = " ".join(words[ends:])
    predicate = " ".join([clause.verb, *words[:ends]])
    return Triple(subject=clause.subject, predicate=predicate, object=said) if said else None
