"""Annotation sheets as CSV, for any spreadsheet."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from knowtuning.core.storage import atomic_write
from knowtuning.human.items import Item, KeyItem
from knowtuning.human.verdicts import CHOICES, Choice, Vote

TEXTS = ("item", "question", "reference", "answer_1", "answer_2")
# A spreadsheet takes a cell that begins with one of these for a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "＝", "＋", "－", "＠")


def guard(text: str) -> str:
    """`text` for a cell: an apostrophe goes before a formula, and before an apostrophe, so that
    `unguard` can take it away again."""
    return f"'{text}" if text.startswith((*_FORMULA, "'")) else text


def unguard(cell: str) -> str:
    """The text of a cell that `guard` wrote."""
    return cell[1:] if cell.startswith("'") else cell


def write_sheet(path: Path, items: Sequence[Item], aspects: Sequence[str], *, reference: bool) -> None:
    """One row an item, in the order given, with an empty column per aspect and one for comments.

    reference: show the reference answer. The file opens with a byte-order mark: without it some
    spreadsheets take UTF-8 for something else.
    """
    shown = [name for name in TEXTS if reference or name != "reference"]
    with atomic_write(path) as stream:
        stream.write("\ufeff")
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow([*shown, *aspects, "comment"])
        for item in items:
            texts = {"item": item.key.id} | {name: getattr(item, name) for name in TEXTS[1:]}
            writer.writerow([*(guard(texts[name]) for name in shown), *[""] * (len(aspects) + 1)])


def read_sheet(path: Path, key: Mapping[str, KeyItem], aspects: Sequence[str], annotator: str) -> list[Vote]:
    """The votes of a filled sheet; empty cells are no votes.

    Commas or semicolons, with or without a byte-order mark, as spreadsheets save. Raises ValueError
    naming file, row (as a spreadsheet counts them) and column.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8; save it as CSV UTF-8") from error
    head = text.partition("\n")[0]
    rows = csv.DictReader(io.StringIO(text, newline=""), delimiter=";" if ";" in head else ",")
    missing = [name for name in ("item", *aspects) if name not in (rows.fieldnames or [])]
    if missing:
        found = ", ".join(rows.fieldnames or ["no header"])
        raise ValueError(f"{path}: row 1: no column {missing[0]}; found {found}; keep the header as it was")
    return list(_votes(path, rows, key, aspects, annotator))


def _votes(
    path: Path,
    rows: csv.DictReader[str],
    key: Mapping[str, KeyItem],
    aspects: Sequence[str],
    annotator: str,
) -> Iterator[Vote]:
    seen: dict[str, int] = {}
    for number, row in enumerate(rows, start=2):
        item = unguard((row["item"] or "").strip())
        if item not in key:
            raise ValueError(f"{path}: row {number}: item: found {item!r}, expected an item of the key")
        if item in seen:
            raise ValueError(f"{path}: row {number}: item {item} is in row {seen[item]} too; delete one")
        seen[item] = number
        for aspect in aspects:
            choice = read_choice(row[aspect] or "", f"{path}: row {number}: {aspect}")
            if choice is not None:
                yield Vote(annotator, item, aspect, choice)


def read_choice(cell: str, where: str) -> Choice | None:
    """A cell's choice, None where it is empty. Raises ValueError, beginning with `where`."""
    text = unguard(cell.strip()).strip().lower()
    if text and text not in CHOICES:
        raise ValueError(f"{where}: found {cell!r}, expected 1, 2, tie or nothing")
    return CHOICES.get(text)
