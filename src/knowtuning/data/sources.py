"""The sources that `prepare.source` can name, each as a stream of rows for the splits that it has."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from knowtuning.data.chat import chat_column
from knowtuning.data.examples import Columns, Reject, SourceRow, to_example
from knowtuning.data.medquad import read_medquad
from knowtuning.data.normalise import leftovers
from knowtuning.data.readers import RawRow, check_columns, read_rows
from knowtuning.data.splits import SPLITS

if TYPE_CHECKING:
    from knowtuning.config.prepare import ColumnParams, HubParams, PrepareParams

_MEDQUAD = Columns("question", "answer", meta=("source", "focus", "type"), withheld=True)


@dataclass(frozen=True)
class Source:
    """The rows of each split the source has; corpus and truth where the source has them too.

    notes: what a reader should know of the rows, a line each; complete when they are read.
    """

    rows: Mapping[str, Iterable[SourceRow | Reject]]
    corpus: list[str] | None = None
    truth: dict[str, Any] | None = None
    notes: list[str] = field(default_factory=list)


def _world(params: PrepareParams, seed: int) -> Source:
    from knowtuning.world import build_world

    world = build_world(params.world, seed)
    rows = {
        split: [
            SourceRow(f"world {split} row {number}", example)
            for number, example in enumerate(getattr(world, split), 1)
        ]
        for split in SPLITS
    }
    return Source(rows, corpus=world.corpus, truth=world.truth)


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
    """The rows of each file of prepare.tests, by `tests.<name>`; answers may be missing. And their notes."""
    columns = replace(_columns(params.file.columns), optional=True)
    notes: list[str] = []
    return {f"tests.{name}": _read(path, columns, notes) for name, path in params.tests.items()}, notes


def _read(path: str, columns: Columns, notes: list[str]) -> Iterator[SourceRow | Reject]:
    return _mapped(read_rows(Path(path), columns.names()), columns, path, notes)


def _hub(params: PrepareParams, seed: int) -> Source:
    hub = params.hub
    dataset = _needed(hub.id, "hub.id", "the id of a data set (owner/name) or a local folder")
    if hub.revision is None and not Path(dataset).is_dir():
        raise ValueError(
            f"prepare.hub.revision is null; expected a commit of the data set {dataset}, "
            "so that its rows cannot change (null is for a local folder)"
        )
    columns, notes = _columns(hub.columns), list[str]()
    splits = {split: name for split in SPLITS if (name := getattr(hub.splits, split)) is not None}
    rows = {
        split: _mapped(_read_hub(dataset, hub, name, columns, notes), columns, f"{dataset} {name}", notes)
        for split, name in splits.items()
    }
    return Source(rows, notes=notes)


def _read_hub(
    dataset: str, hub: HubParams, split: str, columns: Columns, notes: list[str]
) -> Iterator[RawRow]:
    """Rows of one split of a data set of the Hugging Face hub, or of a local folder in the same form.

    Only the columns that are wanted are read, or the conversation in their place; `notes` gets a line on the
    others. No code of the data set is run. Raises ValueError when the data set, its configuration, its split
    or a wanted column is missing.
    """
    import datasets

    try:
        rows = datasets.load_dataset(dataset, name=hub.name, revision=hub.revision, split=split)
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        what = f"{dataset} at {hub.revision}, configuration {hub.name}, split {split}"
        raise ValueError(f"prepare.hub: cannot load {what}: {error}") from error
    wanted = columns.names()
    check_columns(f"{dataset} split {split}", rows.column_names, wanted)
    chat = chat_column(rows.column_names, columns.question)
    read = [column for column in rows.column_names if column in {*wanted, chat}]
    others = [repr(column) for column in rows.column_names if column not in read]
    if others:
        notes.append(f"{dataset} {split}: columns that are not used: {', '.join(others)}")
    for number, values in enumerate(rows.select_columns(read), 1):
        yield RawRow(f"{dataset} {split} row {number}", values)


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
