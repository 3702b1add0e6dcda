"""Splitting of sentences into facts that stand alone, where it is safe."""

from __future__ import annotations

import re
from dataclasses import dataclass

from knowtuning.teacher.rules.grammar import has_finite_verb, parse
from knowtuning.teacher.rules.tables import RELATIVES, SUBORDINATORS, word_set
from knowtuning.teacher.rules.tokens import capitalise, inside, protected_spans, tokenise

_PRONOUN = r"(?:it|he|she|they|we|you|there|this|these|those)"
_FINITE = r"(?:is|are|was|were|has|have|had|can|could|will|would|should|may|might|must|does|did|do)"
_OPEN = r"(?:is|are|was|were|has|have|had|can|could|will|would|should|may|might|must|[a-z]+(?:s|ed)|[a-z]+)"
_NEW_SUBJECT = re.compile(
    rf",\s+(?:and|but|so)\s+(?={_PRONOUN}\s+{_OPEN}\b"
    rf"|(?:the|its|his|her|their)\s+(?:[\w'’-]+\s+){{1,4}}{_FINITE}\b)"
)
_SHARED_SUBJECT = re.compile(
    r"(?<!,)\s+and\s+(?=(?:is|was|are|were|has|have|had|can|died|became|began|went|lies|contains|"
    r"includes|consists|won|grew|wrote|lives|serves|makes|produces|causes|occurs|belongs|exports|hosts|"
    r"holds|takes)"
    r"\s+\S)"
)
_CORRELATIVE = re.compile(r"\b(?:both|either|neither|between|whether|not only|so|such)\b", re.IGNORECASE)
_EXPLETIVE = re.compile(
    r"^It\s+(?:(?:is|was|has been|can be|may be|would be|will be|might be|could be)\s+"
    r"(?:not\s+|also\s+|very\s+)?"
    r"(?:an?\s+|the\s+)?\w+(?:\s+\w+)?\s+(?:to|that|for|if|when|how|whether|who|where|until)\b"
    r"|(?:takes|took|seems|appears|depends|turns|rains|rained|all|just|really)\b|(?:is|was)\s+(?:not\s+)?until\b)"
)
_COPULA = frozenset({"is", "was", "are", "were"})
_PERSONAL = {"He": "singular", "She": "singular", "It": "singular", "They": "plural"}
_MAX_SUBJECT_WORDS = 6


@dataclass(frozen=True)
class _Antecedent:
    """Who the pronouns of the next sentence stand for, and the pronoun used so far ("" at first)."""

    subject: str
    verb: str
    pronoun: str


def facts_of(sentences: list[str]) -> list[str]:
    """Self-contained facts of consecutive sentences, in order; single-clause sentences stay verbatim."""
    facts: list[str] = []
    antecedent: _Antecedent | None = None
    for sentence in sentences:
        for piece in split_clauses(sentence):
            fact, antecedent = _resolve(piece, antecedent)
            facts.append(fact)
    return facts


def split_clauses(sentence: str) -> list[str]:
    """Clauses of a compound sentence as sentences; the sentence alone where no cut is safe."""
    if not sentence.endswith("."):
        return [sentence]
    pieces = _split_semicolons(sentence)
    pieces = [part for piece in pieces for part in _split_new_subjects(piece)]
    return [part for piece in pieces for part in _split_shared_subject(piece)]


def _split_semicolons(sentence: str) -> list[str]:
    parts = [part.strip() for part in sentence[:-1].split(";")]
    if len(parts) < 2 or not all(len(part.split()) > 2 and has_finite_verb(part) for part in parts):
        return [sentence]
    if any(part.split(None, 1)[0].lower() in SUBORDINATORS | RELATIVES for part in parts[1:]):
        return [sentence]
    if "(" in sentence or any(character in sentence for character in '"“:'):
        return [sentence]
    return [capitalise(re.sub(r"^(?:and|but|or)\s+", "", part)) + "." for part in parts]


def _split_new_subjects(sentence: str) -> list[str]:
    if sentence.split(None, 1)[0].lower() in SUBORDINATORS or _unsafe(sentence):
        return [sentence]
    spans = protected_spans(sentence)
    for match in _NEW_SUBJECT.finditer(sentence):
        left, right = sentence[: match.start()], sentence[match.end() :]
        if inside(match.start(), spans) or not _stands_alone(left) or len(right.split()) < 3:
            continue
        return [f"{left}.", *_split_new_subjects(capitalise(right))]
    return [sentence]


def _stands_alone(left: str) -> bool:
    """Whether the words before a cut are a whole clause that no "if ..." or list leads over the cut."""
    words = [token.word.lower() for token in tokenise(left)]
    tail = words[len(words) - words[::-1].index(",") :] if "," in words else words
    opened = bool(tail) and tail[0] in SUBORDINATORS | RELATIVES
    return has_finite_verb(left) and not opened and left.count("(") == left.count(")")


def _unsafe(sentence: str) -> bool:
    return sentence.count("(") != sentence.count(")") or _CORRELATIVE.search(sentence) is not None


def _split_shared_subject(sentence: str) -> list[str]:
    """X is A and was B. -> X is A. X was B."""
    clause = parse(sentence)
    if clause is None or clause.lead or " and " in clause.subject or _unsafe(sentence):
        return [sentence]
    for match in _SHARED_SUBJECT.finditer(sentence, clause.end):
        middle = sentence[clause.end : match.start()]
        if inside(match.start(), protected_spans(sentence)) or not _plain(middle):
            break
        right = sentence[match.end() :]
        if not _agrees(clause.verb, right.split()[0]):
            break
        return [sentence[: match.start()] + ".", *_split_shared_subject(f"{clause.subject} {right}")]
    return [sentence]


def _plain(middle: str) -> bool:
    """Whether words between verb and "and" hold no clause of their own."""
    words = [token.word.lower() for token in tokenise(middle)]
    return bool(words) and not any(word in RELATIVES | {"(", ")", ":", ";", "to"} for word in words)


def _agrees(first: str, second: str) -> bool:
    """Whether two verb forms can share a subject in number."""
    plural, singular = {"are", "were", "have", "do"}, {"is", "was", "has", "does"}
    return not (
        (first in plural and (second in singular or (second.endswith("s") and second != "was")))
        or (first in singular and second in plural)
    )


def _resolve(fact: str, antecedent: _Antecedent | None) -> tuple[str, _Antecedent | None]:
    """The fact with its leading pronoun replaced where that is certain, and the next antecedent."""
    first = fact.split(None, 1)[0]
    if first in _PERSONAL:
        if antecedent is None or not _certain(fact, first, antecedent):
            return fact, None
        resolved = antecedent.subject + fact[len(first) :]
        return resolved, _Antecedent(antecedent.subject, antecedent.verb, first)
    return fact, _antecedent_of(fact)


def _certain(fact: str, pronoun: str, antecedent: _Antecedent) -> bool:
    if antecedent.pronoun not in {"", pronoun} or _EXPLETIVE.match(fact):
        return False
    plural = antecedent.verb in {"are", "were"}
    second = fact.split()[1] if len(fact.split()) > 1 else ""
    named = (
        antecedent.subject.split()[0].lower() not in {"the", "a", "an"} and antecedent.subject[0].isupper()
    )
    return (
        (_PERSONAL[pronoun] == "plural") == plural
        and "'" not in second
        and (named or pronoun in {"It", "They"})
    )


def _antecedent_of(fact: str) -> _Antecedent | None:
    """The subject of "X is ...", which the next sentence can mean by a pronoun; nothing else is sure."""
    clause = parse(fact)
    if clause is None or clause.verb not in _COPULA or clause.lead:
        return None
    subject = re.split(r"[,(]", clause.subject)[0].strip()
    first = subject.split(None, 1)[0].lower() if subject else ""
    if (
        not subject
        or len(subject.split()) > _MAX_SUBJECT_WORDS
        or " and " in subject
        or first in _BLOCKED_SUBJECTS
    ):
        return None
    return _Antecedent(subject, clause.verb, "")


_BLOCKED_SUBJECTS = word_set("""
it he she they we you i this that these those there what who some many most one another other others such
here both all each several his her its their my your our few example
""")
