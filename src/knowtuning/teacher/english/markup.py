"""The parts of an answer: prose and lists, with thoughts and headings taken out.

A text with code, HTML or a table is refused: sentences cannot stand for these, nor can pieces of them.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from knowtuning.teacher.english.words import pattern

_THOUGHT = re.compile(
    r"(?is)<(think\w*|reasoning)>.*?(?:</\1>|\Z)|\A(?:(?!<think|<reason).)*</(?:think\w*|reasoning)>"
)
_FENCE = re.compile(r"^[ \t]*(?:```|~~~)", re.MULTILINE)
# An end of an element: who writes of a tag names its beginning.
_HTML = re.compile(
    r"(?i)</(?:p|div|span|a|b|i|em|strong|ul|ol|li|dl|dd|dt|table|tr|t[dh]|h[1-6]|pre|code|blockquote)\s*>|<br\s*/?>"
)


_ROMAN = ("", "i", "ii", "iii", "iv", "v", "vi", "vii", "viii", "ix", "x")


class Block(NamedTuple):
    """A paragraph of prose, or a list: its lead-in, which may be empty, and its items."""

    text: str
    items: tuple[str, ...] = ()


def blocks_of(answer: str) -> list[Block]:
    """The blocks of an answer, in order. Raises ValueError where it holds code, HTML or a table."""
    text = _THOUGHT.sub("\n", answer).replace("\r\n", "\n")
    lines = text.split("\n")
    code = _FENCE.search(text) or sum(bool(pattern("code_line").match(line)) for line in lines) > 1
    table = sum(bool(pattern("table_line").match(line)) for line in lines) > 1
    what = "code" if code else "HTML" if _HTML.search(text) else "a table" if table else ""
    if what:
        raise ValueError(f"found {what} in the answer, which no sentences can stand for; expected prose")
    lines = [pattern("quoted").sub("", line) for line in lines]
    blocks: list[Block] = []
    unsaid = pattern("heading"), pattern("formula")
    for block in _grouped([line for line in lines if not any(each.match(line) for each in unsaid)]):
        if block.items and blocks and blocks[-1].text.endswith(":") and not blocks[-1].items:
            block = Block(blocks.pop().text, block.items)
        blocks += [block] if block.items else _inline_lists(block.text)
    return blocks


def _grouped(lines: list[str]) -> list[Block]:
    """Lines as paragraphs (those of a wrapped sentence joined) and lists."""
    blocks: list[Block] = []
    while lines:
        items, rest = _list_at(lines)
        line, before = lines[0].strip(), blocks[-1].text if blocks else ""
        if len(items) > 1:
            blocks.append(Block("", tuple(items)))
        elif before and line[:1].islower() and before[-1] not in ".!?:":
            blocks[-1] = Block(f"{before} {line}")
        else:
            blocks.append(Block(line))
        lines = rest if len(items) > 1 else lines[1:]
    return [block for block in blocks if block.text or block.items]


def _list_at(lines: list[str]) -> tuple[list[str], list[str]]:
    """The items of the list that the lines begin with, and the lines after it; one mark alone is no list."""
    items: list[str] = []
    before = ""
    for index, line in enumerate(lines):
        if mark := _mark_after(line, before):
            before = mark
            items.append(pattern("mark").sub(r"\g<text>", line).strip())
            continue
        # A numbered item may have paragraphs, another item a blank or an indented line.
        inside = not line.strip() or line.startswith(("  ", "\t"))
        ahead = lines[index + 1 :] if before.isdigit() else lines[index + 1 : index + 2] * inside
        follows = any(_mark_after(each, before) for each in ahead)
        if not items or not (follows or (inside and line.strip())):
            return items, lines[index:]
        items[-1] = f"{items[-1]} {line.strip()}".strip()
    return items, []


def _mark_after(line: str, before: str) -> str:
    """The mark of a line that is the item after the one with the mark `before` ("": the first); else ""."""
    match = pattern("mark").match(line)
    if match is None:
        return ""
    mark = match["bullet"] or match["mark"]
    if match["bullet"] or not before:
        return mark if mark in {"1", "a", "A", "i", "I"} or (match["bullet"] and not before.isalnum()) else ""
    numbered = 0 < _number(before) == _number(mark) - 1
    letters = len(mark) == len(before) == 1 and mark.isalpha() and before.isalpha()
    lettered = letters and ord(mark) == ord(before) + 1
    return mark if numbered or lettered else ""


def _number(mark: str) -> int:
    """The number that a mark of a list is, in digits or Roman; 0 for another mark."""
    return int(mark) if mark.isdigit() else _ROMAN.index(mark.lower()) if mark.lower() in _ROMAN else 0


def _inline_lists(paragraph: str) -> list[Block]:
    """A paragraph as blocks, where "1. … 2. …" or ": - … - …" on one line is a list."""
    marks = _numbers(paragraph)
    opening = pattern("list_opens").search(paragraph)
    if marks:
        start, ends = marks[0][0], [mark[0] for mark in marks[1:]] + [len(paragraph)]
        items = [paragraph[mark[1] : end].strip() for mark, end in zip(marks, ends, strict=True)]
    elif opening is not None:
        start, pieces = opening.start(), pattern("inline_dash").split(paragraph[opening.end() :])
        items = [item.strip() for item in pieces]
    if (not marks and opening is None) or len(items) < 2:
        return [Block(paragraph)]
    # The sentence that announces the list is its lead-in; the last item ends with its sentence.
    before, lead, rest = paragraph[:start].strip(), "", ""
    if before.endswith((":", "include")):
        cut = max(before.rfind(end) + 2 for end in (". ", "? ", "! "))
        before, lead = (before[:cut].strip(), before[cut:]) if cut > 1 else ("", before)
    ended = re.search(r"[.!?]\s+(?=[A-Z])", items[-1])
    if ended is not None and not all(re.search(r"[.!?]\s+\S", item) for item in items):
        items[-1], rest = items[-1][: ended.start() + 1], items[-1][ended.end() :]
    prose = [Block(before)] if before else []
    return [*prose, Block(lead, tuple(items)), *(_inline_lists(rest) if rest else [])]


def _numbers(paragraph: str) -> list[tuple[int, int]]:
    """Where the marks 1., 2., 3. … of a list on one line begin and end; none for less than two."""
    marks: list[tuple[int, int]] = []
    for match in pattern("inline_number").finditer(paragraph):
        before = paragraph[: match.start()].rstrip()
        number = _number(match[1]) or ord(match[1]) - ord("a") + 1
        if number == len(marks) + 1 and (marks or not before or before[-1] in ".,:!?"):
            marks.append(match.span())
    return marks if len(marks) > 1 else []
