"""prepare: the source as clean splits without duplicates or leaks. `python -m stages.prepare`"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from knowtuning.config.prepare import PrepareStage, check_teacher, local_paths
from knowtuning.core.params import check_watched, load
from knowtuning.core.storage import write_json
from knowtuning.data.prepare import prepare, write_prepared
from stages import PARAMS, run

PREPARED = Path("data/prepared")
METRICS = Path("metrics/data.json")


def table(counts: Mapping[str, Mapping[str, Any]]) -> str:
    """Counts by split, aligned; a count that is 0 in every split is left out, as are those by name."""
    splits = list(counts)
    rows = [["", *splits]]
    for name, first in counts[splits[0]].items():
        values = [counts[split][name] for split in splits] if isinstance(first, int | float) else []
        if any(values):
            rows.append([name, *(f"{value:g}" for value in values)])
    widths = [max(9, *map(len, splits))] * len(splits)
    return "\n".join(
        f"{name:<18}" + "".join(f"{cell:>{width + 1}}" for cell, width in zip(cells, widths, strict=True))
        for name, *cells in rows
    )


def main() -> None:
    stage = load(PARAMS, PrepareStage)
    check_watched(local_paths(stage.prepare))
    check_teacher(stage.teacher.backend, stage.prepare.source)
    prepared = prepare(stage.prepare, seed=stage.seed)
    write_prepared(prepared, PREPARED, max_rejected=stage.prepare.max_rejected)
    write_json(METRICS, prepared.metrics())
    for note in prepared.notes:
        sys.stderr.write(f"note: {note}\n")
    print(table(prepared.counts()))


if __name__ == "__main__":
    run(main)
