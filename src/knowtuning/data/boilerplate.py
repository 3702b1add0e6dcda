"""Answers that are the same form filled in many times: shared openings and lists of links."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from knowtuning.core.tables import grouped

# An opening is this many words; a character of a script without spaces counts half a word.
OPENING_WORDS = 6
# It is shared when so many answers have it: this count, and this share of all answers.
SHARED_COUNT, SHARED_SHARE = 5, 0.01
# Examples of a kind in the report, and the characters shown of an answer.
EXAMPLES, SHOWN = 5, 160

_WORD = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff]|[^\\W_]+(?:['\u2019-][^\\W_]+)*"
)
_ITEM = re.compile(r"(?<!\S)(?:[-*+\u2022\u2013]|\d+[.)])[ \t]+")
_ADDRESS = re.compile(r"(?:https?://|www\.)\S+")
_URL = re.compile(r"https?://|www\.|\]\(|<a\s", re.IGNORECASE)
# What an introduction to a list of links speaks of.
_LINKS = re.compile(
    r"\b((these|following|additional|further|helpful|useful|other|more|related) (online )?resources|"
    r"resources (that|address|offer|provide|from|for|on|about)|"
    r"(these|following|useful|related|helpful|external) links|"
    r"(these|following|useful|related|helpful) (web ?)?(sites|pages)|see also|further (reading|information)|"
    r"more information|read more|related (topics|articles|pages))\b|"
    r"^\W*((external |useful )?links|(web )?resources|sources|references)\W*$",
    re.IGNORECASE,
)
# An introduction is short, and so are titles; this share of the items must be titles.
INTRODUCTION_WORDS, TITLE_WORDS, LINKS_SHARE = 30, 20, 0.8


# Cached, since counting, reporting and leaving out ask anew.
@cache
def opening(text: str) -> tuple[str, ...]:
    """The first words of an answer, folded; empty where it is not longer than an opening."""
    words: list[str] = []
    weight = 0.0
    for match in _WORD.finditer(text[:1000].casefold()):
        words.append(match[0])
        weight += 0.5 if len(match[0]) == 1 and ord(match[0]) > 0xE00 else 1.0
        if weight >= OPENING_WORDS:
            return tuple(words)
    return ()


@cache
def link_list(text: str) -> bool:
    """Whether an answer is a list of addresses, or of titles under a line about resources, and little else.

    Items may stand on one line, as where white space was folded; the last of a list may then run on into the
    introduction of the next.
    """
    if all(map(_ADDRESS.fullmatch, text.split())):
        return bool(text.strip())
    first = _ITEM.search(text)
    introduction = text[: first.start()].strip() if first else "none"
    about = _LINKS.search(introduction) is not None
    announced = about or not introduction or introduction.endswith(":")
    if len(introduction.split()) > INTRODUCTION_WORDS or not announced:
        return False
    starts = list(_ITEM.finditer(text))
    ends = [*(match.start() for match in starts[1:]), len(text)]
    items = [text[match.end() : end].strip() for match, end in zip(starts, ends, strict=True)]
    least = LINKS_SHARE * len(items)
    if sum(_title(item) and _URL.search(item) is not None for item in items) >= least:
        return True
    return about and sum(map(_title, items)) >= least


def _title(item: str) -> bool:
    """Whether an item of a list is no sentence: a title or an address."""
    words = len(item.split())
    if item.endswith(":") and _LINKS.search(item):
        return words <= TITLE_WORDS + INTRODUCTION_WORDS
    return words <= TITLE_WORDS and not item.endswith((".", "!", "?"))


@dataclass(frozen=True)
class Boilerplate:
    """What is boilerplate among some answers. openings: shared ones, as words, with the number of answers."""

    openings: dict[tuple[str, ...], int]

    def kinds(self, answer: str) -> list[str]:
        return [name for name, is_kind in KINDS.items() if is_kind(self, answer)]

    def reason(self, answer: str, dropped: Iterable[str]) -> str | None:
        """Why an answer is left out; None where none of its kinds is in `dropped`."""
        kinds = [kind for kind in self.kinds(answer) if kind in set(dropped)]
        return f"{', '.join(kinds)}: {_start(answer)!r}" if kinds else None


# What `prepare.drop` may name: the kind and how an answer of it is known.
KINDS: dict[str, Callable[[Boilerplate, str], bool]] = {
    "link_list": lambda _, answer: link_list(answer),
    "shared_opening": lambda boilerplate, answer: opening(answer) in boilerplate.openings,
}


def find(answers: Iterable[str]) -> Boilerplate:
    """The openings that many of the answers share."""
    counts = Counter(map(opening, answers))
    least = max(SHARED_COUNT, SHARED_SHARE * counts.total())
    counts.pop((), None)
    return Boilerplate({words: n for words, n in counts.items() if n >= least})


def report(boilerplate: Boilerplate, answers: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """Examples of each kind among answers by place, for metrics/data.json; empty where there are none.

    An opening is given to the end of what all its answers share, with their number and a place.
    """
    links = [{"where": where, "answer": _start(answer)} for where, answer in answers if link_list(answer)]
    sharing = [row for row in answers if opening(row[1]) in boilerplate.openings]
    by_opening = grouped(sharing, lambda row: opening(row[1]))
    shared = [
        {"opening": _shared(answers), "answers": len(answers), "where": answers[0][0]}
        for answers in sorted(by_opening.values(), key=lambda group: (-len(group), group[0][0]))
    ]
    parts = {"link_list": links[:EXAMPLES], "shared_opening": shared[:EXAMPLES]}
    return {kind: examples for kind, examples in parts.items() if examples}


def _shared(answers: list[tuple[str, str]]) -> str:
    """The words with which all the answers begin, as the first of them writes them."""
    split = [answer.split() for _, answer in answers]
    columns = zip(*split, strict=False)
    same = itertools.takewhile(lambda words: len({word.casefold() for word in words}) == 1, columns)
    return " ".join(words[0] for words in same) or _start(answers[0][1])


def _start(answer: str) -> str:
    text = " ".join(answer.split())
    return text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"
