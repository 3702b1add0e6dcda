"""The same tasks for Label Studio: its import file and labelling interface, and reading its JSON export."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from knowtuning.core.storage import read_json, write_json
from knowtuning.human.items import Item, KeyItem
from knowtuning.human.sheets import TEXTS, read_choice
from knowtuning.human.verdicts import CHOICES, Vote
from knowtuning.knowledge.aspects import ASPECTS


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
    return [
        vote for number, task in enumerate(tasks, start=1) for vote in _task(path, number, task, key, aspects)
    ]


def _task(
    path: Path, number: int, task: Any, key: Mapping[str, KeyItem], aspects: Sequence[str]
) -> Iterator[Vote]:
    where = f"{path}: task {number}"
    if not isinstance(task, dict) or not isinstance(task.get("annotations"), list):
        raise ValueError(f"{where}: no annotations; export as JSON, not JSON-MIN or CSV")
    item = (task.get("data") or {}).get("item")
    if item not in key:
        raise ValueError(f"{where}: data.item: found {item!r}, expected an item of the key")
    seen = set()
    for annotation in task["annotations"]:
        if annotation.get("was_cancelled"):
            continue
        annotator = _annotator(annotation.get("completed_by"), where)
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


def _annotator(value: Any, where: str) -> str:
    """Label Studio writes a number, or a user with a number among other things."""
    number = value.get("id") if isinstance(value, dict) else value
    if number is None:
        raise ValueError(f"{where}: completed_by: found no number, expected the annotator's")
    return f"annotator-{number}"
