"""Tokens with their place in the text, names, and small repairs of form (articles, capitals)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from knowtuning.teacher.rules.tables import FUNCTION_WORDS, NAME_LINKS

_TOKEN = re.compile(r"['’]s\b|\w+(?:[.,]\d+)*(?:-\w+)*(?:['’](?!s\b)\w+)*|[^\w\s]")
_QUOTED = re.compile(
    r"```.*?(?:```|$)|`[^`]*`|\"[^\"]*\"|“[^”]*”|«[^»]*»|https?://\S+|www\.\S+|\S+@\S+\.\w+", re.DOTALL
)
_VOWEL_SOUND = re.compile(
    r"(?:(?!uni|use|usu|eu|one|once|ufo)[aeiou]|hour|honest|heir|honou?r)", re.IGNORECASE
)


class Token(NamedTuple):
    """A word or a mark, and where it stands: text[start:end] == word."""

    word: str
    start: int
    end: int


class Name(NamedTuple):
    """A capitalised phrase: its text and its tokens [first, last)."""

    text: str
    first: int
    last: int


@lru_cache(maxsize=4096)
def tokenise(text: str) -> tuple[Token, ...]:
    """Words (numbers, hyphenated words and contractions whole), possessive 's and marks."""
    return tuple(Token(match.group(), match.start(), match.end()) for match in _TOKEN.finditer(text))


def is_capitalised(word: str) -> bool:
    """Whether a word starts with a capital letter; the pronoun "I" does not count."""
    return word[:1].isupper() and word not in {"I", "I'm", "I've", "I'll", "I'd"}


def names(tokens: Sequence[Token], text: str) -> list[Name]:
    """Capitalised phrases, in order. Function words at the start of a sentence are not part of one."""
    found: list[Name] = []
    position = 0
    while position < len(tokens):
        if not _opens_name(tokens, position):
            position += 1
            continue
        last = _name_end(tokens, position)
        found.append(Name(text[tokens[position].start : tokens[last - 1].end], position, last))
        position = last
    return found


def _opens_name(tokens: Sequence[Token], position: int) -> bool:
    word = tokens[position].word
    starts = position == 0 or tokens[position - 1].word in ".!?:;-*"
    return is_capitalised(word) and not (word.casefold() in FUNCTION_WORDS and (starts or len(word) < 4))


def _name_end(tokens: Sequence[Token], position: int) -> int:
    last = position + 1
    while last < len(tokens):
        word = tokens[last].word
        if is_capitalised(word) or (word.isdigit() and len(word) < 3):
            last += 1
        elif word in NAME_LINKS and last + 1 < len(tokens) and is_capitalised(tokens[last + 1].word):
            last += 2
        else:
            break
    return last


def protected_spans(text: str) -> list[tuple[int, int]]:
    """Character ranges that nobody may reword: quotations, code, addresses."""
    return [match.span() for match in _QUOTED.finditer(text)]


def inside(position: int, spans: Sequence[tuple[int, int]]) -> bool:
    """Whether a character position lies in one of the ranges."""
    return any(start <= position < end for start, end in spans)


def fix_article(text: str, position: int) -> str:
    """Make the article right before character `position` agree with the word there: a apple -> an apple."""
    match = re.search(r"\b([Aa])n? $", text[:position])
    if match is None:
        return text
    article = match.group(1) + ("n" if _VOWEL_SOUND.match(text[position:]) else "")
    return text[: match.start()] + article + " " + text[position:]


def replace(text: str, start: int, end: int, value: str) -> str:
    """Replace text[start:end], keeping a/an before it right."""
    return fix_article(text[:start] + value + text[end:], start)


def capitalise(text: str) -> str:
    """Upper-case the first letter."""
    return text[:1].upper() + text[1:]


def uncapitalise(text: str, vocabulary: frozenset[str] | set[str] = frozenset()) -> str:
    """Lower-case the first word when it is a function word or known in lower case (`vocabulary`)."""
    first = re.match(r"[A-Za-z]+(?:-[a-z]+)?", text)
    if first is None or first.group() == "I":
        return text
    lower = first.group()[:1].lower() + first.group()[1:]
    opens_name = text[first.end() :].lstrip()[:1].isupper()
    known = lower in FUNCTION_WORDS or (lower in vocabulary and not opens_name)
    return lower + text[first.end() :] if known else text
