"""Sentences of English prose.

sentencex (Wikimedia's splitter, in Rust, rules alone, with releases this year) draws the lines. On 4,000
answers it took 0.05 s; syntok, which took 4.6 s, runs sentences together after units ("… 40 °F. Yes."), and
pysbd, which took 19 s, had its last release in 2021. What sentencex cuts too often is mended here: list
numbers, ".NET", and brackets that are still open.
"""

from __future__ import annotations

import re
import unicodedata

from sentencex import segment

from knowtuning.teacher.english.words import pattern, word_list

# Function words, those of other languages in Latin letters less those that are English words too.
_ENGLISH, _FOREIGN = word_list("english"), word_list("foreign")
_MIN_LATIN = 0.7  # share of the letters
_LONG, _MIN_ENGLISH = 25, 0.05  # from so many words on, at least this share are English function words


def check_english(text: str) -> None:
    """Raise ValueError, saying what to do, where a text is in another language."""
    if not is_english(text):
        start = " ".join(text.split())[:30]
        way = "teacher.backend english reads English alone, for other languages set teacher.backend: openai"
        raise ValueError(f"found a text that is not English: {start!r}; {way}")


def is_english(text: str) -> bool:
    """Whether a text is in Latin letters, and no other language's function words prevail."""
    letters = re.findall(r"[^\W\d_]", text)
    if sum("LATIN" in unicodedata.name(letter, "") for letter in letters) < _MIN_LATIN * len(letters):
        return False
    words = re.findall(r"[^\W\d_]+", text.lower())
    english = sum(word in _ENGLISH for word in words)
    foreign = sum(word in _FOREIGN for word in words)
    return foreign <= english and (len(words) < _LONG or english >= _MIN_ENGLISH * len(words))


_MAX_BRACKET = 300  # characters after which an open bracket counts as a slip


def split_sentences(text: str) -> list[str]:
    """The sentences of a text, each as it stands there."""
    sentences: list[str] = []
    for piece in segment("en", " ".join(text.split())):
        piece = piece.strip()
        if sentences and _continues(sentences[-1], piece):
            dotted = sentences[-1].endswith(" .")
            sentences[-1] += piece if dotted else f" {piece}"
        elif piece:
            sentences.append(piece)
    return sentences


def _continues(before: str, piece: str) -> bool:
    """Whether a piece belongs to the sentence before it."""
    marks = pattern("number").match(before) or before.endswith(" .") or not re.search(r"\w", piece)
    within = before.count("(") > before.count(")") and len(before) < _MAX_BRACKET
    shortened = pattern("abbreviation").search(before) and not re.match(
        r"(?:The|It|In|He|She|They|This)\b", piece
    )
    return bool(marks or within or shortened or (piece[:1].islower() and before[-1] not in "!?"))
