"""Texts compared: folded, and as words."""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

# Letters with their marks, which are letters to no regular expression: accents, points, the vowels of India.
_LETTER = (
    r"[\w\u0300-\u036f\u0591-\u05bd\u05bf-\u05c7\u0610-\u061a\u064b-\u065f\u0670\u0900-\u0963\u0966-\u0dff]"
)
# A word, but for scripts that put no space between words: there a character.
WORD = (
    r"[\u0e00-\u0eff\u1000-\u1049\u1050-\u109f\u1780-\u17d3\u17dc-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]"
    rf"|{_LETTER}+(?:['’]{_LETTER}+)*"
)
_WORD = re.compile(WORD)
# What ends a sentence, a clause or a lead-in, in any script; behind the wide ones no blank is needed.
WIDE_STOPS = "。！？．｡"
STOPS = f".!?;:…{WIDE_STOPS}؟۔।॥։።။។"

# Closed-class words of English: what remains of a sentence when its content is taken out.
_CLOSED_CLASS = """
    a an the this that these those such each every either neither both all any some no none another other
    i me my mine myself you your yours yourself he him his himself she her hers herself it its itself
    we us our ours ourselves they them their theirs themselves one ones who whom whose which what whatever
    someone anyone everyone nobody something anything everything nothing there here then thus hence
    am is are was were be been being isn't aren't wasn't weren't do does did done doing don't doesn't
    didn't have has had having haven't hasn't hadn't can could can't cannot couldn't will would won't
    wouldn't shall should shouldn't may might must ought
    about above across after against along amid among around as at before behind below beneath beside
    besides between beyond by despite down during except for from in inside into like near of off on onto
    out outside over past per since than through throughout till to toward towards under until up upon via
    with within without
    and but or nor so yet if unless because although though while whereas whether once when whenever where
    wherever why how however therefore moreover furthermore also too not never ever always often sometimes
    usually only just even still already again almost very quite rather more most less least much many few
    fewer several enough own same
"""
FUNCTION_WORDS = frozenset(_CLOSED_CLASS.split())


def normal_form(text: str) -> str:
    """Text folded for comparison: case, white space and a final full stop do not count."""
    return " ".join(text.casefold().split()).rstrip(".")


def words(text: str) -> list[str]:
    """The words of a text, folded; characters in scripts that put no space between words."""
    return list(map(_folded, _WORD.findall(text)))


def _folded(word: str) -> str:
    """A word for comparison: case, the form of its apostrophe and the composition of letters do not count."""
    folded = word.casefold().replace("’", "'")
    return folded if folded.isascii() else unicodedata.normalize("NFC", folded)


def content_words(text: str) -> list[str]:
    """The words of a text that are no function words of English; all words in other languages."""
    return [word for word in words(text) if word not in FUNCTION_WORDS]


class Span(NamedTuple):
    """A folded word, and where it begins and ends in the text (characters)."""

    word: str
    start: int
    end: int


def word_spans(text: str) -> list[Span]:
    """The words of a text, as `words` gives them, with where they stand."""
    return [Span(_folded(match[0]), *match.span()) for match in _WORD.finditer(text)]


def first_words(text: str, count: int) -> str:
    """A text up to the end of its word number `count`, as `words` counts; all of a text that has no more."""
    ends = [word.end() for word in itertools.islice(_WORD.finditer(text), count + 1)]
    return text if len(ends) <= count else text[: ends[count - 1] if count else 0]


def is_latin(text: str) -> bool:
    """Whether half of a text's letters or more are Latin: tools for English find words in no other script."""
    letters = [char for char in text if char.isalpha()]
    return 2 * sum("LATIN" in unicodedata.name(char, "") for char in letters) >= len(letters)


def share_of(wanted: Iterable[str], available: Iterable[str]) -> float:
    """Share (0..1) of the words `wanted`, each as often as it occurs, that are in `available`; 1 for none."""
    known, counted = set(available), list(wanted)
    return sum(word in known for word in counted) / len(counted) if counted else 1.0


def repeated_share(text: str, size: int = 4) -> float:
    """Share (0..1) of the runs of `size` words that stood in the text before; 0 where it has no such run."""
    tokens = words(text)
    runs = Counter(tuple(tokens[i : i + size]) for i in range(len(tokens) - size + 1))
    total = runs.total()
    return (total - len(runs)) / total if total else 0.0
