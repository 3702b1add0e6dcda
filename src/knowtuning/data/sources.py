"""The sources that `prepare.source` can name, each as a stream of rows for the splits that it has."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from knowtuning.core.records import Example
from knowtuning.core.tables import entry
from knowtuning.data.examples import Columns, Reject, Row, to_example
from knowtuning.data.hub import read_hub
from knowtuning.data.medquad import read_medquad
from knowtuning.data.rows import RawRow, read_rows
from knowtuning.data.splits import SPLITS, SplitName

if TYPE_CHECKING:
    from knowtuning.config.prepare import ColumnParams, PrepareParams

_MEDQUAD = Columns("question", "answer", meta=("source", "focus", "type"), withheld=True)


@dataclass(frozen=True)
class Source:
    """The rows of each split the source has; corpus and truth where the source has them too."""

    rows: dict[SplitName, Iterator[Row | Reject]]
    corpus: list[str] | None = None
    truth: dict[str, Any] | None = None


def open_source(params: PrepareParams, *, seed: int) -> Source:
    """The chosen source, not read yet. Raises ValueError when a value that it needs is null."""
    return entry(SOURCES, params.source, "prepare.source")(params, seed)


def _world(params: PrepareParams, seed: int) -> Source:
    from knowtuning.world import build_world

    world = build_world(params.world, seed)
    rows = {split: _placed(getattr(world, split), split) for split in SPLITS}
    return Source(rows, corpus=world.corpus, truth=world.truth)


def _placed(examples: list[Example], split: str) -> Iterator[Row | Reject]:
    for number, example in enumerate(examples, 1):
        yield Row(f"world {split} row {number}", example)


def _medquad(params: PrepareParams, seed: int) -> Source:
    path = _needed(params.medquad_xml.path, "medquad_xml.path", "the path of the MedQuAD folder or zip")
    return Source({"train": _mapped(read_medquad(Path(path)), _MEDQUAD)})


def _file(params: PrepareParams, seed: int) -> Source:
    _needed(params.file.train, "file.train", "the path of the training rows")
    columns = _columns(params.file.columns)
    paths = {split: getattr(params.file, split) for split in SPLITS}
    return Source(
        {
            split: _mapped(read_rows(Path(path), columns.names()), columns)
            for split, path in paths.items()
            if path is not None
        }
    )


def _hub(params: PrepareParams, seed: int) -> Source:
    hub = params.hub
    dataset = _needed(hub.id, "hub.id", "the id of a data set (owner/name) or a local folder")
    columns = _columns(hub.columns)
    names = {split: getattr(hub.splits, split) for split in SPLITS}

    def rows(split: str) -> Iterator[RawRow]:
        return read_hub(dataset, revision=hub.revision, name=hub.name, split=split, wanted=columns.names())

    return Source({split: _mapped(rows(name), columns) for split, name in names.items() if name is not None})


def _columns(params: ColumnParams) -> Columns:
    return Columns(params.question, params.answer, context=params.context, id=params.id)


def _mapped(rows: Iterator[RawRow], columns: Columns) -> Iterator[Row | Reject]:
    return (to_example(row, columns) for row in rows)


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
