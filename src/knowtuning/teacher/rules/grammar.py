"""The subject and the finite verb of a simple clause, as far as a word list can tell."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from knowtuning.teacher.rules import verbs
from knowtuning.teacher.rules.tables import (
    ADVERBS,
    AUXILIARIES,
    CONJUNCTIONS,
    DETERMINERS,
    PREPOSITIONS,
    RELATIVES,
    SUBJECT_PRONOUNS,
    SUBORDINATORS,
)
from knowtuning.teacher.rules.tokens import Token, is_capitalised, tokenise

_PLURAL_PRONOUNS = frozenset(
    {"i", "you", "we", "they", "these", "those", "people", "children", "men", "women"}
)
_LEAD = re.compile(
    r"^(?:(?:In|During|On|At|By|After|Before|Since|From|For|As of|Around|Among|Under|With|Within|Over|Through"
    r"|Every|Each)\s[^,;:]{1,60},(?:\s\d{4},)?\s+|(?:However|Therefore|Also|Additionally|Moreover|Furthermore"
    r"|Then|Finally|Today|Overall|Instead|Similarly|Generally|Typically|Historically|Originally|Currently|Now|Later|First|Second|Third|Lastly|"
    r"Firstly|Secondly|Thirdly|Finally|So|And|But|Thus|Hence|For example|For instance|In addition"
    r"|As a result|In general|Unfortunately|Fortunately|Ultimately|Eventually|Usually|Yes|No),?\s+)"
)
_MAX_SUBJECT_WORDS = 10
# After one of these, still before a finite verb, the verb that comes is that of another clause.
_CLAUSE_OPENERS = RELATIVES | {
    "until",
    "before",
    "after",
    "since",
    "unless",
    "you",
    "they",
    "we",
    "he",
    "she",
    "it",
    "i",
}


@dataclass(frozen=True)
class Clause:
    """text = lead + subject + between + verb + rest. base and tense are those of the finite verb.

    lead: an adverbial before the subject; verb: the finite form as written; tense: aux, present,
    past or base; start, end: place of the verb in the text; rest: everything after it.
    """

    text: str
    lead: str
    subject: str
    verb: str
    base: str
    tense: str
    start: int
    end: int

    @property
    def rest(self) -> str:
        return self.text[self.end :]


@lru_cache(maxsize=4096)
def parse(text: str) -> Clause | None:
    """The first clause of a sentence, or None where the word lists cannot tell its finite verb."""
    lead = _LEAD.match(text)
    offset = lead.end() if lead else 0
    tokens = tokenise(text[offset:])
    if not tokens or tokens[0].word.lower() in SUBORDINATORS - {"once"} | PREPOSITIONS:
        return None
    position = _finite(tokens)
    if position is None:
        return None
    token = tokens[position]
    subject = _strip_adverbs(tokens[:position], text[offset:])
    if not subject or subject.lower() in ADVERBS or len(subject.split()) > _MAX_SUBJECT_WORDS:
        return None
    word = token.word.lower()
    base, tense = (word, "aux") if word in AUXILIARIES else verbs.lexicon()[word]
    return Clause(
        text, text[:offset], subject, token.word, base, tense, offset + token.start, offset + token.end
    )


def _finite(tokens: Sequence[Token]) -> int | None:
    """Position of the finite verb; None after a comma, a relative pronoun or a colon came first."""
    depth = 0
    for position, token in enumerate(tokens):
        word = token.word.lower()
        depth += (word == "(") - (word == ")")
        if depth or word == ")":
            continue
        if word in AUXILIARIES:
            return position if position else None
        if (position and (word in _CLAUSE_OPENERS or word in ':;?!-–—"“')) or len(tokens) == position + 1:
            return None
        if word == ",":
            return None
        if position and _is_verb(tokens, position):
            return position
    return None


def _is_verb(tokens: Sequence[Token], position: int) -> bool:
    word = tokens[position].word
    entry = verbs.lexicon().get(word)
    steps = (token.word for token in reversed(tokens[:position]) if token.word.lower() not in ADVERBS)
    before = next(steps, tokens[position - 1].word)
    after = tokens[position + 1].word.lower()
    if entry is None or word != word.lower():
        return False
    if before.lower() in DETERMINERS | PREPOSITIONS | CONJUNCTIONS | {"to", "'s", "’s"} - {"they", "it"}:
        return before.lower() in SUBJECT_PRONOUNS and position == 1
    if after in AUXILIARIES | {"of"}:
        return False
    if entry[1] == "past":
        return not _verb_follows(tokens[position + 1 :])
    if entry[1] == "base":
        return _is_plural(before) and after not in AUXILIARIES
    doubtful = verbs.lexicon().get(after, ("", ""))[1] == "base" and entry[0] not in {"help", "make", "take"}
    return not doubtful and not _is_plural(before) and not _verb_follows(tokens[position + 1 : position + 4])


def _is_plural(word: str) -> bool:
    lower = word.lower()
    return lower in _PLURAL_PRONOUNS or (
        lower.endswith("s") and not lower.endswith(("ss", "us", "is", "'s")) and (len(lower) > 3)
    )


def _verb_follows(tokens: Sequence[Token]) -> bool:
    """Whether an auxiliary follows in the same clause, which makes a form before it no finite verb."""
    for token in tokens:
        word = token.word.lower()
        if word in RELATIVES or word in CONJUNCTIONS or word in ",;:":
            return False
        if word in AUXILIARIES:
            return True
    return False


def _strip_adverbs(tokens: Sequence[Token], text: str) -> str:
    """The subject without adverbs at its end ("X also" -> "X")."""
    last = len(tokens)
    while last > 1 and tokens[last - 1].word.lower() in ADVERBS:
        last -= 1
    return text[tokens[0].start : tokens[last - 1].end] if last else ""


def is_imperative(text: str) -> bool:
    """Whether a sentence opens with the base form of a known verb: "Cut the onions"."""
    first = tokenise(text)[:2]
    if len(first) < 2 or not is_capitalised(first[0].word):
        return False
    entry = verbs.lexicon().get(first[0].word.lower())
    after = first[1].word.lower()
    allowed = DETERMINERS | PREPOSITIONS | {"it", "them", "up", "out", "into", "sure", "some"}
    return entry is not None and entry[1] == "base" and after in allowed - {"of"}


def has_finite_verb(text: str) -> bool:
    """Whether a piece of text holds an auxiliary or a known finite form after its first word."""
    words = [token.word for token in tokenise(text)]
    return any(word.lower() in AUXILIARIES for word in words) or parse(text) is not None
