"""Finding the phrases of a table in a text, by the first word of each: one look-up a word."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import NamedTuple

_WORD = re.compile(r"(?<![\w'’-])\w+(?:['’]\w+)*")


class Found(NamedTuple):
    """A phrase of the table (as it stands there) and its place in the text."""

    phrase: str
    start: int
    end: int


class PhraseTable:
    """Phrases, longest first; case does not count unless the phrase itself has capitals."""

    def __init__(self, phrases: Iterable[str]) -> None:
        self._by_first: dict[str, list[str]] = defaultdict(list)
        for phrase in sorted(dict.fromkeys(phrases), key=lambda phrase: (-len(phrase), phrase)):
            first = _WORD.match(phrase)
            if first is None:
                raise ValueError(f"the phrase {phrase!r} starts with no word; expected a word")
            self._by_first[first.group().lower()].append(phrase)

    def find(self, text: str) -> Iterator[Found]:
        """Phrases that stand in the text as whole words, none overlapping another."""
        plain = text.replace("’", "'")
        done = 0
        for match in _WORD.finditer(plain):
            if match.start() < done:
                continue
            for phrase in self._by_first.get(match.group().lower(), ()):
                end = match.start() + len(phrase)
                if _equal(plain[match.start() : end], phrase) and _ends_word(plain, end):
                    yield Found(phrase, match.start(), end)
                    done = end
                    break


def _equal(written: str, phrase: str) -> bool:
    return written == phrase or (phrase.islower() and written.lower() == phrase)


def _ends_word(text: str, end: int) -> bool:
    return not text[end - 1].isalnum() or not re.match(r"[\w'-]", text[end : end + 1])
