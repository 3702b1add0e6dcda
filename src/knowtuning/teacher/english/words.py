"""The words and patterns that the rules know (words.txt, patterns.txt), and the sentences of English prose.

sentencex (Wikimedia's, rules alone, released this year) draws the lines: 0.05 s for 4,000 answers; syntok
(4.6 s) runs sentences together after units ("… 40 °F. Yes."), pysbd (19 s) is of 2021. Its slips are mended.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable
from functools import cache
from importlib.resources import files

from sentencex import segment


def _read(name: str) -> dict[str, str]:
    lines = files(__package__).joinpath(name).read_text("utf-8").splitlines()
    return {line.partition(": ")[0]: line.partition(": ")[2] for line in lines if line[0] != "#"}


_LISTS = _read("words.txt")
# Also the templates of questions, behind the question that each is the answer to.
PATTERNS = _read("patterns.txt")


@cache
def pattern(name: str) -> re.Pattern[str]:
    """A regular expression of patterns.txt."""
    return re.compile(PATTERNS[name])


def word_set(text: str) -> frozenset[str]:
    """The words of a text, split at white space."""
    return frozenset(text.split())


def word_list(name: str) -> frozenset[str]:
    return word_set(_LISTS[name])


def groups(name: str) -> list[list[str]]:
    """The groups of a list: "more than/less than; at least/fewer than"."""
    return [group.split("/") for group in _LISTS[name].split("; ")]


def _hash(*key: object) -> bytes:
    text = "\x1f".join(map(str, key))
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()


def ranked(candidates: Iterable[str], *key: object) -> list[str]:
    """Distinct candidates in an order that `key` determines: a new candidate moves no pair of others."""
    return sorted(dict.fromkeys(candidates), key=lambda candidate: (_hash(*key, candidate), candidate))


def drawn(*key: object) -> float:
    """A number of [0, 1) that `key` determines."""
    return int.from_bytes(_hash(*key)) / 2**64


AUXILIARIES, SINGULAR_VERBS, PLURAL_VERBS = map(word_list, ("auxiliaries", "singular_verbs", "plural_verbs"))
DETERMINERS, PREPOSITIONS, PERSONAL = map(word_list, ("determiners", "prepositions", "personal"))
CONJUNCTIONS, SUBORDINATORS = word_list("conjunctions"), word_list("subordinators")
FUNCTION_WORDS = AUXILIARIES | DETERMINERS | PREPOSITIONS | CONJUNCTIONS | PERSONAL | word_list("others")
BASES = {third: base for base, third, _ in groups("verbs")}
BASE_VERBS, PAST_VERBS = frozenset(BASES.values()), frozenset(forms[2] for forms in groups("verbs"))
# What opens an instruction; a noun of the same spelling is told by the words after it.
IMPERATIVES = BASE_VERBS | word_list("orders")
# Function words, those of other languages in Latin letters less those that are English words too.
_ENGLISH, _FOREIGN = word_list("english"), word_list("foreign")
_MIN_LATIN = 0.7  # share of the letters
_MAX_BRACKET = 300  # characters after which an open bracket counts as a slip
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
    english, foreign = (sum(word in known for word in words) for known in (_ENGLISH, _FOREIGN))
    return foreign <= english and (len(words) < _LONG or english >= _MIN_ENGLISH * len(words))


def split_sentences(text: str) -> list[str]:
    """The sentences of a text, each as it stands there."""
    sentences: list[str] = []
    apart = False
    for raw in segment("en", " ".join(text.split())):
        piece = raw.strip()
        # A full stop between two blanks ends a sentence, one before a word is its first sign: ".NET".
        dotted = bool(sentences) and sentences[-1].endswith(" .") and not (apart or raw[:1].isspace())
        if sentences and (dotted or _continues(sentences[-1], piece, cased=text != text.lower())):
            sentences[-1] += piece if dotted else f" {piece}"
        elif piece:
            sentences.append(piece)
        apart = raw[-1:].isspace()
    return sentences


def _continues(before: str, piece: str, *, cased: bool) -> bool:
    """Whether a piece belongs to the sentence before it; cased: whether sentences open with capitals."""
    marks = pattern("number").match(before) or not re.search(r"\w", piece)
    within = before.count("(") > before.count(")") and len(before) < _MAX_BRACKET
    opens = re.match(r"(?:The|It|In|He|She|They|This)\b", piece)
    shortened = pattern("abbreviation").search(before) and not opens
    lower = cased and re.match(r"[a-z]+(?![A-Za-z])", piece) is not None
    return bool(marks or within or shortened or (lower and before[-1] not in "!?"))
