"""Turning a statement into its denial."""

from __future__ import annotations

import re
from collections.abc import Iterator

from knowtuning.teacher.rules.grammar import Clause, is_imperative, parse
from knowtuning.teacher.rules.tables import AUXILIARIES
from knowtuning.teacher.rules.tokens import uncapitalise
from knowtuning.teacher.rules.verbs import is_participle

_NOT = re.compile(r"\b(is|are|was|were|can|could|will|would|should|may|might|must|has|have|had) not\b")
_DO_NOT = re.compile(r"\b([Dd]o|[Dd]oes|[Dd]id)(?: not|n['’]t)\b")
_CONTRACTED = re.compile(r"\b(is|are|was|were|could|would|should|has|have|had|does|do|did)n['’]t\b")
_CANNOT = re.compile(r"\b(?:can['’]t|cannot)\b")
_DO_FORM = {"present": "does not", "past": "did not", "base": "do not"}
_PRONOUN_IS = re.compile(r"^((?:It|He|She|That|There|This)['’]s|(?:You|They|We)['’]re|I['’]m)\s+(?!not\b)")


def denials(fact: str, vocabulary: frozenset[str]) -> Iterator[str]:
    """Denials of a statement, the most natural first; the last one always exists."""
    yield from _removed(fact)
    clause = parse(fact)
    if clause is not None and fact[-1] != "?":
        yield from _inserted(clause)
    if contracted := _PRONOUN_IS.match(fact):
        yield f"{contracted.group(1)} not {fact[contracted.end() :]}"
    if is_imperative(fact):
        yield "Do not " + fact[0].lower() + fact[1:]
    yield from _last_resort(fact, vocabulary, sentence=clause is not None)


def _removed(fact: str) -> Iterator[str]:
    if found := _CANNOT.search(fact):
        yield fact[: found.start()] + "can" + fact[found.end() :]
    elif found := _NOT.search(fact):
        yield fact[: found.end(1)] + fact[found.end() :].removeprefix(" only").removeprefix(" just")
    elif (found := _CONTRACTED.search(fact)) or (found := _DO_NOT.search(fact)):
        yield fact[: found.end(1)] + fact[found.end() :]


def _inserted(clause: Clause) -> Iterator[str]:
    head, rest = clause.text[: clause.start], clause.rest
    if re.match(r"\s+(?:not|never|no|n['’]t|nothing|none|neither|hardly|rarely)\b", rest):
        return
    verb = clause.verb.lower()
    if clause.tense != "aux":
        yield f"{head}{_DO_FORM[clause.tense]} {clause.base}{rest}"
    elif verb in {"has", "have", "had"}:
        yield _denied_have(head, verb, rest)
    elif verb == "can":
        yield f"{head}cannot{rest}"
    elif verb in AUXILIARIES and "'" not in verb and verb != "cannot":
        yield f"{head}{clause.verb} not{rest}"


def _denied_have(head: str, verb: str, rest: str) -> str:
    words = [word.strip(",.;:") for word in rest.split()[:2]]
    perfect = any(is_participle(word) for word in words[:1]) or (
        words[:1] in (["also"], ["always"], ["long"])
    )
    if perfect or "to" in words[:1]:
        return f"{head}{verb} not{rest}" if perfect else f"{head}{_do(verb)} have{rest}"
    return f"{head}{_do(verb)} have{rest}"


def _do(verb: str) -> str:
    return {"has": "does not", "have": "do not", "had": "did not"}[verb]


def _last_resort(fact: str, vocabulary: frozenset[str], *, sentence: bool) -> Iterator[str]:
    if fact[-1] == "?":
        yield f"Nobody asks: {fact}"
    elif sentence or (fact[-1] in ".!" and len(fact.split()) > 3 and ":" not in fact):
        yield f"It is not true that {uncapitalise(fact, vocabulary)}"
    elif len(fact.split()) < 8 and ":" not in fact and fact[0].isalpha():
        yield f"Not {uncapitalise(fact, vocabulary)}"
    yield f"The following is not true: {fact}"
