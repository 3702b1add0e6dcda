"""The two forms for annotators: sheets as CSV, for any spreadsheet, and the same tasks for Label Studio."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from knowtuning.core.storage import atomic_write, open_text, read_json, write_json
from knowtuning.human.items import Item, KeyItem
from knowtuning.human.verdicts import CHOICES, Choice, Vote
from knowtuning.knowledge.aspects import ASPECTS

TEXTS = ("item", "question", "reference", "answer_1", "answer_2")
# A spreadsheet takes a cell that begins with one of these for a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "＝", "＋", "－", "＠")


def guard(text: str) -> str:
    """`text` for a cell: an apostrophe goes before a formula or an apostrophe; `unguard` takes it away."""
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
    with open_text(path, encoding="utf-8-sig") as stream:
        text = stream.read()
    head = text.partition("\n")[0]
    rows = csv.DictReader(io.StringIO(text, newline=""), delimiter=";" if ";" in head else ",")
    missing = [name for name in ("item", *aspects) if name not in (rows.fieldnames or [])]
    if missing:
        columns = ", ".join(rows.fieldnames or ["no header"])
        raise ValueError(f"{path}: row 1: no column {missing[0]}; found {columns}; keep the header as it was")
    csv.field_size_limit(2**31 - 1)  # the default is less than some answers
    votes: list[Vote] = []
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
                votes.append(Vote(annotator, item, aspect, choice))
    return votes


def read_choice(cell: str, where: str) -> Choice | None:
    """A cell's choice, None where it is empty. Raises ValueError, beginning with `where`."""
    text = unguard(cell.strip()).strip().lower()
    if text and text not in CHOICES:
        raise ValueError(f"{where}: found {cell!r}, expected 1, 2, tie or nothing")
    return CHOICES.get(text)


def write_tasks(path: Path, items: Sequence[Item], *, reference: bool) -> None:
    """Tasks in Label Studio's import format, in the order given."""
    shown = [name for name in TEXTS[1:] if reference or name != "reference"]
    tasks = [
        {"data": {"item": item.key.id} | {name: getattr(item, name) for name in shown}} for item in items
    ]
    write_json(path, tasks)


def interface(aspects: Sequence[str], *, reference: bool) -> str:
    """The labelling interface as XML: the texts, then one required choice per aspect."""
    view = ElementTree.Element("View")
    for name in TEXTS[1:]:
        if reference or name != "reference":
            ElementTree.SubElement(view, "Header", value=name.replace("_", " ").capitalize())
            ElementTree.SubElement(view, "Text", name=name, value=f"${name}")
    for aspect in aspects:
        ElementTree.SubElement(view, "Header", value=ASPECTS[aspect].question)
        choices = ElementTree.SubElement(
            view,
            "Choices",
            {"name": aspect, "toName": "answer_1", "choice": "single-radio", "showInline": "true"},
            required="true",
        )
        for value in CHOICES:
            ElementTree.SubElement(choices, "Choice", value=value)
    ElementTree.indent(view)
    return ElementTree.tostring(view, encoding="unicode") + "\n"


def read_export(path: Path, key: Mapping[str, KeyItem], aspects: Sequence[str]) -> list[Vote]:
    """The votes of a JSON export (not JSON-MIN); skipped tasks and drafts are no votes.

    The annotator is the number under which Label Studio knows them: their addresses are nobody's business
    in a metrics file. Raises ValueError naming file, task and field.
    """
    tasks = read_json(path)
    if not isinstance(tasks, list):
        raise ValueError(f"{path}: found {type(tasks).__name__}, expected the list of a JSON export")
    votes: list[Vote] = []
    for number, task in enumerate(tasks, start=1):
        votes += _task(f"{path}: task {number}", task, key, aspects)
    return votes


def _task(where: str, task: Any, key: Mapping[str, KeyItem], aspects: Sequence[str]) -> Iterator[Vote]:
    if not isinstance(task, dict) or not isinstance(task.get("annotations"), list):
        raise ValueError(f"{where}: no annotations; export as JSON, not JSON-MIN or CSV")
    item = (task.get("data") or {}).get("item")
    if item not in key:
        raise ValueError(f"{where}: data.item: found {item!r}, expected an item of the key")
    seen = set()
    for annotation in task["annotations"]:
        if annotation.get("was_cancelled"):
            continue
        # Label Studio writes a number, or a user with a number among other things.
        by = annotation.get("completed_by")
        number = by.get("id") if isinstance(by, dict) else by
        if number is None:
            raise ValueError(f"{where}: completed_by: found no number, expected the annotator's")
        annotator = f"annotator-{number}"
        if annotator in seen:
            raise ValueError(f"{where}: two annotations by {annotator}; delete one in Label Studio")
        seen.add(annotator)
        for result in annotation.get("result") or []:
            name = result.get("from_name")
            if name in aspects:
                values = (result.get("value") or {}).get("choices") or [""]
                choice = read_choice(str(values[0]), f"{where}: {name}")
                if choice is not None:
                    yield Vote(annotator, str(item), name, choice)
