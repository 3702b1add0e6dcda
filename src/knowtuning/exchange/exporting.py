"""Our training rows in the format of another trainer."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from knowtuning.core.records import Example, Pair, Rewrite, iter_jsonl
from knowtuning.core.storage import atomic_write, write_json
from knowtuning.exchange.formats import Format, Slot, fill
from knowtuning.systems import Data, System


def exported(system: System, form: Format, *, root: Path) -> list[dict[str, Any]]:
    """What a system is trained on, in the order of its files, under `root`.

    Beside the format's own columns a row keeps `id`, and where it has them `source` and `aspect`, which the
    trainers pass over. The facts of a rewrite are left out. Raises ValueError where a file is missing or all
    are empty.
    """
    rows = [_row(record, form) for data in system.data for record in _records(data, root)]
    if not rows:
        raise ValueError(f"{', '.join(str(data.path) for data in system.data)}: no row to export")
    return rows


def write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    """An array in a .json file, a row a line in a .jsonl file. Raises ValueError for another ending."""
    if path.suffix == ".json":
        write_json(path, rows)
    elif path.suffix == ".jsonl":
        with atomic_write(path) as stream:
            stream.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    else:
        raise ValueError(f"--out is {path}; expected a name that ends in .json or .jsonl")


def _records(data: Data, root: Path) -> Iterator[Example | Rewrite | Pair]:
    path = root / data.path
    if not path.is_file():
        raise ValueError(f"{path}: not found; `dvc repro` or `dvc pull` makes it")
    yield from iter_jsonl(path, data.record)


def _row(record: Example | Rewrite | Pair, form: Format) -> dict[str, Any]:
    if isinstance(record, Pair):
        sides = {Slot.CHOSEN: record.chosen, Slot.REJECTED: record.rejected}
        row = fill(form.pair, {Slot.QUESTION: record.question, **sides})
        return {**row, "id": record.id, "source": record.source, "aspect": record.aspect}
    row = fill(form.answered, {Slot.QUESTION: record.question, Slot.ANSWER: record.answer})
    # An original is its own source: a column that half of the rows lack, readers of tables fill with null.
    source = record.source if isinstance(record, Rewrite) else record.id
    return {**row, "id": record.id, "source": source}
