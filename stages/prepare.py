"""python -m stages.prepare: the source -> data/prepared/ and metrics/data.json."""

from __future__ import annotations

from pathlib import Path

from knowtuning.config.prepare import PrepareStage, local_paths
from knowtuning.core.params import check_watched, load
from knowtuning.core.storage import write_json
from knowtuning.data.prepare import prepare, write_prepared
from stages import PARAMS, run

PREPARED = Path("data/prepared")
METRICS = Path("metrics/data.json")


def table(counts: dict[str, dict[str, int | float]]) -> str:
    """Counts by split, aligned; a count that is 0 in every split is left out."""
    splits = list(counts)
    rows = [["", *splits]]
    for name in counts[splits[0]]:
        values = [counts[split][name] for split in splits]
        if any(values):
            rows.append([name, *(f"{value:g}" for value in values)])
    return "\n".join(f"{name:<18}" + "".join(f"{cell:>10}" for cell in cells) for name, *cells in rows)


def main() -> None:
    """Prepare the data that params.yaml names."""
    stage = load(PARAMS, PrepareStage)
    check_watched(local_paths(stage.prepare))
    prepared = prepare(stage.prepare, seed=stage.seed)
    write_prepared(prepared, PREPARED, max_rejected=stage.prepare.max_rejected)
    counts = prepared.counts()
    write_json(METRICS, counts)
    print(table(counts))


if __name__ == "__main__":
    run(main)
