"""Rows of a data set of the Hugging Face hub, or of a local folder in the same form."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from knowtuning.data.chat import chat_column
from knowtuning.data.readers import RawRow, check_columns


def read_hub(
    dataset: str, *, revision: str | None, name: str | None, split: str, wanted: list[str], notes: list[str]
) -> Iterator[RawRow]:
    """Rows of one split; only the `wanted` columns are read, that of the question first, or the conversation
    in their place. `notes` gets a line on the others. No code of the data set is run.

    Raises ValueError when the data set, its configuration, its split or a wanted column is missing.
    """
    if revision is None and not Path(dataset).is_dir():
        raise ValueError(
            f"prepare.hub.revision is null; expected a commit of the data set {dataset}, "
            "so that its rows cannot change (null is for a local folder)"
        )
    rows = _load(dataset, revision=revision, name=name, split=split)
    check_columns(f"{dataset} split {split}", rows.column_names, wanted)
    chat = chat_column(rows.column_names, wanted[0])
    read = [column for column in rows.column_names if column in {*wanted, chat}]
    others = [repr(column) for column in rows.column_names if column not in read]
    if others:
        notes.append(f"{dataset} {split}: columns that are not used: {', '.join(others)}")
    for number, values in enumerate(rows.select_columns(read), 1):
        yield RawRow(f"{dataset} {split} row {number}", values)


def _load(dataset: str, *, revision: str | None, name: str | None, split: str) -> Any:
    import datasets

    try:
        return datasets.load_dataset(dataset, name=name, revision=revision, split=split)
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        what = f"{dataset} at {revision}, configuration {name}, split {split}"
        raise ValueError(f"prepare.hub: cannot load {what}: {error}") from error
