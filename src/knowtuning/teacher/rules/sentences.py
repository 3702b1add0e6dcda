"""Splitting of any answer into sentences: lines, lists, headings, code, then full stops."""

from __future__ import annotations

import re
from collections.abc import Iterator

from knowtuning.teacher.rules.tables import ABBREVIATIONS, FUNCTION_WORDS, SOFT_ABBREVIATIONS

_BULLET = re.compile(
    r"^\s*(?:[-*•·–—▪◦‣]+\s+|\(?(?:\d{1,2}|[a-zA-Z]|[ivx]{1,4})[.)](?:\s+|(?=[A-Z]))|#+\s+|[•▪◦‣])"
)
_FENCE = re.compile(r"^\s*```")
_TABLE_ROW = re.compile(r"^\s*\||\|.*\||\t")
_CODE_LINE = re.compile(
    r"^(?:\s{4,}\S|.*[{};]\s*$|\s*(?:def|class|import|SELECT|public|var|const)\b.*[:;({]?\s*$)"
)
_INLINE_NUMBER = re.compile(r"(?<!\S)\(?(\d{1,2})[.)]\s*(?=[A-Z\"“])")
_INLINE_DASH = re.compile(r"(?:(?<=[:.?!)\w])\s+)[-•*]\s+(?=[A-Z0-9])")
_END = re.compile(r"[.!?…]+[\"”’')\]]*(?:\[\d+\])*")
_LEADING_YES = re.compile(r"^(?:yes|no)\W*$", re.IGNORECASE)
_STARTERS = (
    "The|This|These|It|He|She|They|In|A|An|If|But|And|We|You|There|When|However|For|On|At|Some|His|Her|Its"
)
_GLUED = re.compile(rf"(?<=[a-z)]{{2}}[.!?])(?=(?:{_STARTERS})\b)")
_FRAGMENT_WORDS = 12


def split_sentences(text: str) -> list[str]:
    """Sentences of a text in their order, in their own words.

    A list item that is no sentence is given its heading ("Fruits: apple"); a heading before whole
    sentences stays with the first of them. Code and table rows are one sentence a line. A text that
    is not blank gives at least one sentence.
    """
    found = [sentence for block in _blocks(text) for sentence in block]
    return _merged([sentence for sentence in found if sentence]) or [text.strip()]


def _blocks(text: str) -> Iterator[list[str]]:
    """Per line, or heading with its items, the sentences in it."""
    heading = ""
    items: list[str] = []
    for line, listed in _lines(text):
        if heading and (listed or not items):
            items.append(line)
            continue
        if heading:
            yield _with_heading(heading, items)
            heading, items = "", []
        if line.endswith(":"):
            heading = line
        else:
            yield _split_line(line)
    if heading:
        yield _with_heading(heading, items)


def _lines(text: str) -> Iterator[tuple[str, bool]]:
    """Stripped lines with whether they are list items; wrapped lines are joined, inline lists opened."""
    fenced = False
    pending: tuple[str, bool] | None = None
    for raw in text.splitlines():
        if _FENCE.match(raw):
            fenced = not fenced
            continue
        if not raw.strip() or fenced or _TABLE_ROW.search(raw) or _CODE_LINE.match(raw):
            if pending:
                yield from _opened(*pending)
            pending = None
            if raw.strip():
                yield raw.strip(), False
            continue
        bullet = _BULLET.match(raw)
        line = raw[bullet.end() :].strip() if bullet else raw.strip()
        if pending and not bullet and line[:1].islower() and pending[0][-1] not in ".!?:;":
            pending = (f"{pending[0]} {line}", pending[1])
            continue
        if pending:
            yield from _opened(*pending)
        pending = (line, bool(bullet)) if line else None
    if pending:
        yield from _opened(*pending)


def _opened(line: str, listed: bool) -> Iterator[tuple[str, bool]]:
    """A line, or the head and the items of the list that runs inside it."""
    cuts = _inline_items(line)
    if not cuts:
        yield line, listed
        return
    *before, head = _split_line(line[: cuts[0][0]].strip()) or [""]
    yield from ((sentence, listed) for sentence in before)
    if head:
        yield (head if head[-1] in ".!?:" else head + ":"), listed
    ends = [start for start, _ in cuts[1:]] + [len(line)]
    for (_, begin), end in zip(cuts, ends, strict=True):
        item = line[begin:end].strip().rstrip(",;").strip()
        if item:
            yield item, True


def _inline_items(line: str) -> list[tuple[int, int]]:
    """(marker start, item start) of "1. X 2. Y" (numbers that count up from 1) or "- X - Y"."""
    numbered = list(_INLINE_NUMBER.finditer(line))
    run = [match for number, match in enumerate(numbered, 1) if int(match.group(1)) == number]
    if len(run) >= 2 and run[0] is numbered[0]:
        return [match.span() for match in run]
    dashes = list(_INLINE_DASH.finditer(line))
    return [match.span() for match in dashes] if len(dashes) >= 2 else []


def _with_heading(heading: str, items: list[str]) -> list[str]:
    if not items:
        return [heading]
    if all(_is_sentence(item) for item in items):
        first, *rest = [sentence for item in items for sentence in _split_line(item)]
        return [f"{heading} {first}", *rest]
    return [
        f"{heading} {sentence}" if number == 0 else sentence
        for item in items
        for number, sentence in enumerate(_split_line(item))
    ]


def _is_sentence(item: str) -> bool:
    return (item[-1] in ".!?" and len(item.split()) > 4) or len(item.split()) > _FRAGMENT_WORDS


def _split_line(line: str) -> list[str]:
    """Sentences of one line of prose."""
    pieces: list[str] = []
    start = depth = 0
    previous = 0
    for match in _END.finditer(line):
        depth += _opened_brackets(line[previous : match.end()])
        previous = match.end()
        if depth <= 0 and _is_boundary(line, start, match):
            pieces.append(line[start : match.end()].strip())
            start, depth = match.end(), 0
    pieces.append(line[start:].strip())
    return [part.strip() for piece in pieces if piece for part in _GLUED.split(piece)]


def _opened_brackets(text: str) -> int:
    return text.count("(") + text.count("[") - text.count(")") - text.count("]")


def _is_boundary(line: str, start: int, match: re.Match[str]) -> bool:
    after = line[match.end() :]
    if not after.strip():
        return True
    if _quote_is_open(line[start : match.end()]) and _quote_is_open(after):
        return False
    if not after[0].isspace():
        return False
    following = after.split(None, 1)[0].lstrip("\"“'‘(*[")
    before = line[start : match.start()].split()
    word = before[-1].lstrip("\"“'(") if before else ""
    if line[match.start()] != "." or match.group().startswith(".."):
        return not following[:1].islower()
    if following[:1].islower():
        return len(word) > 2 and word.isalpha() and word.islower() and word not in ABBREVIATIONS | {"etc"}
    return not _abbreviates(word, following)


def _quote_is_open(text: str) -> bool:
    """Whether a quotation mark of the text has no partner in it."""
    return text.count('"') % 2 == 1 or text.count("“") != text.count("”")


def _abbreviates(word: str, following: str) -> bool:
    """Whether the full stop after `word` belongs to it and the sentence goes on."""
    lower = word.lower().strip(".,")
    starts_sentence = following.lower().rstrip(".,") in FUNCTION_WORDS and following[:1].isupper()
    if lower in SOFT_ABBREVIATIONS:
        return not (starts_sentence or lower == "etc")
    if len(lower) == 1 and lower.isalpha() and word[:1].isupper():
        return not starts_sentence or lower == "i"
    if lower in {"no", "nos", "fig", "sec", "ch", "vol", "eq", "p", "pp"}:
        return following[:1].isdigit()
    if lower in {"st", "mt", "dr", "mr", "mrs", "ms", "prof"}:
        return True
    return lower in ABBREVIATIONS and not starts_sentence


def _merged(sentences: list[str]) -> list[str]:
    """Join pieces that say nothing alone (marks, a bare "Yes.") to a neighbour."""
    merged: list[str] = []
    carry = ""
    for sentence in sentences:
        whole = f"{carry} {sentence}".strip()
        carry = ""
        if _LEADING_YES.match(whole):
            carry = whole
        elif not any(character.isalnum() for character in whole) and merged:
            merged[-1] = f"{merged[-1]} {whole}"
        else:
            merged.append(whole)
    return [*merged, carry] if carry else merged
