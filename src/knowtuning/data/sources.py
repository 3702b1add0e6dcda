"""The sources that `prepare.source` can name, each as a stream of rows for the splits that it has."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from knowtuning.core.records import Example
from knowtuning.data.chat import chat_column
from knowtuning.data.examples import Columns, Reject, SourceRow, to_example
from knowtuning.data.hub import read_hub
from knowtuning.data.medquad import read_medquad
from knowtuning.data.normalise import leftovers
from knowtuning.data.readers import RawRow, read_rows
from knowtuning.data.splits import SPLITS, SplitName

if TYPE_CHECKING:
    from knowtuning.config.prepare import ColumnParams, PrepareParams

_MEDQUAD = Columns("question", "answer", meta=("source", "focus", "type"), withheld=True)


@dataclass(frozen=True)
class Source:
    """The rows of each split the source has; corpus and truth where the source has them too.

    notes: what a reader should know of the rows, a line each; complete when they are read.
    """

    rows: dict[SplitName, Iterator[SourceRow | Reject]]
    corpus: list[str] | None = None
    truth: dict[str, Any] | None = None
    notes: list[str] = field(default_factory=list)


def open_source(params: PrepareParams, *, seed: int) -> Source:
    """The chosen source, not read yet. Raises ValueError when a value that it needs is null."""
    return SOURCES[params.source](params, seed)


def _world(params: PrepareParams, seed: int) -> Source:
    from knowtuning.world import build_world

    world = build_world(params.world, seed)
    rows = {split: _placed(getattr(world, split), split) for split in SPLITS}
    return Source(rows, corpus=world.corpus, truth=world.truth)


def _placed(examples: list[Example], split: str) -> Iterator[SourceRow | Reject]:
    for number, example in enumerate(examples, 1):
        yield SourceRow(f"world {split} row {number}", example)


def _medquad(params: PrepareParams, seed: int) -> Source:
    path = _needed(params.medquad_xml.path, "medquad_xml.path", "the path of the MedQuAD folder or zip")
    return Source({"train": _of_types(read_medquad(Path(path)), params.medquad_xml.types)})


def _of_types(rows: Iterator[RawRow], types: Collection[str] | None) -> Iterator[SourceRow | Reject]:
    """Pairs of the named types; the others are rejected. Raises ValueError when a type has no pair."""
    seen: Counter[str] = Counter()
    for raw in rows:
        kind = raw.values["type"]
        seen[kind] += 1
        if types is None or kind in types:
            yield to_example(raw, _MEDQUAD)
        else:
            reason = f"found {kind!r}, expected one of prepare.medquad_xml.types"
            yield Reject(raw.where, "other_type", reason, raw.values)
    for kind in types or ():
        if not seen[kind]:
            raise ValueError(
                f"prepare.medquad_xml.types names {kind!r}, of which there is no pair; expected some of "
                f"{', '.join(map(repr, sorted(seen)))}"
            )


def _file(params: PrepareParams, seed: int) -> Source:
    _needed(params.file.train, "file.train", "the path of the training rows")
    columns = _columns(params.file.columns)
    paths = {split: getattr(params.file, split) for split in SPLITS}
    notes: list[str] = []
    rows = {split: _read(path, columns, notes) for split, path in paths.items() if path is not None}
    return Source(rows, notes=notes)


def open_tests(params: PrepareParams) -> tuple[dict[str, Iterator[SourceRow | Reject]], list[str]]:
    """The rows of each file of prepare.tests, where an answer may be missing, and their notes."""
    columns = replace(_columns(params.file.columns), optional=True)
    notes: list[str] = []
    return {name: _read(path, columns, notes) for name, path in params.tests.items()}, notes


def _read(path: str, columns: Columns, notes: list[str]) -> Iterator[SourceRow | Reject]:
    return _mapped(read_rows(Path(path), columns.names()), columns, path, notes)


def _hub(params: PrepareParams, seed: int) -> Source:
    hub = params.hub
    dataset = _needed(hub.id, "hub.id", "the id of a data set (owner/name) or a local folder")
    columns = _columns(hub.columns)
    names = {split: getattr(hub.splits, split) for split in SPLITS}

    notes: list[str] = []

    def rows(split: str) -> Iterator[SourceRow | Reject]:
        wanted = columns.names()
        read = read_hub(
            dataset, revision=hub.revision, name=hub.name, split=split, wanted=wanted, notes=notes
        )
        return _mapped(read, columns, f"{dataset} {split}", notes)

    return Source({split: rows(name) for split, name in names.items() if name is not None}, notes=notes)


def _columns(params: ColumnParams) -> Columns:
    return Columns(params.question, params.answer, context=params.context, id=params.id)


def _mapped(
    rows: Iterator[RawRow], columns: Columns, where: str = "the source", notes: list[str] | None = None
) -> Iterator[SourceRow | Reject]:
    """Each row as an example or reject. `notes` gets a line on columns that no one reads, on conversations
    and on what an export may have left in the texts, where there are some."""
    total, chats, left, unused = 0, 0, Counter[str](), Counter[str]()
    for raw in rows:
        total += 1
        if isinstance(raw.values, dict):
            unused.update(columns.unused(raw.values))
            chats += chat_column(raw.values, columns.question) is not None
        row = to_example(raw, columns)
        if isinstance(row, SourceRow):
            left.update(leftovers(row.example.question + row.example.answer))
        yield row
    if notes is None:
        return
    if unused:
        named = ", ".join(f"{name!r} ({count})" for name, count in unused.items())
        notes.append(f"{where}: columns that are not used (with how many of {total} rows fill them): {named}")
    if chats:
        notes.append(
            f"{where}: {chats} of {total} rows are conversations: the last user turn with what came before "
            "it is the question"
        )
    notes += [f"{where}: {count} of {total} rows hold {name}, which are kept" for name, count in left.items()]


def _needed(value: str | None, key: str, what: str) -> str:
    if value is None:
        raise ValueError(f"prepare.{key} is null; expected {what}, which prepare.source needs")
    return value


# Each opens the source that the section `prepare` describes, with the seed of what it draws.
SOURCES: dict[str, Callable[[PrepareParams, int], Source]] = {
    "world": _world,
    "file": _file,
    "medquad_xml": _medquad,
    "hub": _hub,
}
