"""Rewording that cannot change a fact: phrases exchanged for phrases that mean the same."""

from __future__ import annotations

import re
from functools import cache

from knowtuning.teacher.rules.choice import ranked
from knowtuning.teacher.rules.phrases import Found, PhraseTable
from knowtuning.teacher.rules.tables import EQUIVALENTS, NEEDS_PLACE, ONE_WAY
from knowtuning.teacher.rules.tokens import capitalise, inside, is_capitalised, protected_spans, replace

_CODE = re.compile(r"```|^\s*(?:def|class|import|SELECT|public)\b.*[:;(]|[{};]\s*$", re.MULTILINE)
_PLACE = re.compile(r"^ (?:the )?[A-Z]")
_INVERTED = re.compile(r"^\s+(?:it|he|she|they|you|we|I|this|that|there|the)\b")


@cache
def _alternatives() -> dict[str, tuple[str, ...]]:
    """Phrase -> the phrases that may take its place."""
    table: dict[str, dict[str, None]] = {}
    for group in EQUIVALENTS:
        for phrase in group:
            table.setdefault(phrase, {}).update(dict.fromkeys(other for other in group if other != phrase))
    for phrase, other in ONE_WAY:
        table.setdefault(phrase, {})[other] = None
    return {phrase: tuple(others) for phrase, others in table.items()}


@cache
def _table() -> PhraseTable:
    return PhraseTable(_alternatives())


def rephrase(seed: int, record_id: str, text: str) -> str:
    """The text in other words, as far as the tables go; the text itself where they hold no phrase of it.

    The wording of a phrase depends on (seed, record_id, phrase) alone, so two texts of one record
    that share a sentence share its wording. Quotations, code, names and numbers stay as they are.
    """
    if _CODE.search(text):
        return text
    spans = protected_spans(text)
    found = [
        match for match in _table().find(text) if _is_plain(text, match) and not inside(match.start, spans)
    ]
    for match in reversed(found):
        other = ranked(_alternatives()[match.phrase], seed, "rephrase", record_id, match.phrase)[0]
        capital = text[match.start].isupper()
        text = replace(text, match.start, match.end, capitalise(other) if capital else other)
    return text


def _is_plain(text: str, match: Found) -> bool:
    """Whether a match is written like prose (no title or shout) and not part of an inverted question."""
    phrase = text[match.start : match.end]
    words = phrase.split()
    if any(is_capitalised(word) for word in words[1:]) or (len(phrase) > 2 and phrase.isupper()):
        return False
    before = text[: match.start].rstrip(" \"“'(*")
    sentence_start = not before or before[-1] in ".!?:\n•-"
    if phrase[0].isupper() and phrase[0] != "I" and not sentence_start:
        return False
    if match.phrase in NEEDS_PLACE and not _PLACE.match(text[match.end :]):
        return False
    contracted = "'" in phrase or "’" in phrase
    return not (contracted and phrase[-2:] in {"'t", "’t"} and _INVERTED.match(text[match.end :]))
