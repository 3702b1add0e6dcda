"""Facts as subject, predicate and object, where a fact is one plain clause."""

from __future__ import annotations

from collections.abc import Sequence

from knowtuning.teacher.english.grammar import has_reference, kind_of, parse
from knowtuning.teacher.english.words import AUXILIARIES, PREPOSITIONS, word_set
from knowtuning.teacher.tasks import Triple

# Verbs that say something without another; what follows the others is the verb.
_FULL = word_set("is are was were has have had")


def triples_of(facts: Sequence[str]) -> list[Triple]:
    """The triples of the facts that are one, in their order; the others have none.

    Raises ValueError where no fact is one.
    """
    triples = [triple for triple in map(_triple, facts) if triple is not None]
    if not triples:
        raise ValueError(f"none of {len(facts)} facts is plainly a subject, a predicate and an object")
    return triples


def _triple(fact: str) -> Triple | None:
    """A fact in three parts, which joined are its words; the predicate ends with the verb's preposition."""
    clause = parse(fact) if kind_of(fact) == "statement" and not has_reference(fact) else None
    if clause is None:
        return None
    words = clause.rest.rstrip(".").split()
    begins = int(clause.verb.lower() in AUXILIARIES - _FULL)
    behind = enumerate(words[begins : begins + 2], begins + 1)
    ends = next((index for index, word in behind if word in PREPOSITIONS), begins)
    remainder = " ".join(words[ends:])
    predicate = " ".join([clause.verb, *words[:ends]])
    return Triple(subject=clause.subject, predicate=predicate, object=remainder) if remainder else None
