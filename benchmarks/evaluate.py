"""Time and peak memory of the evaluation on many questions: `python -m benchmarks.evaluate [QUESTIONS]`.

Repeats the questions and answers of the finished run in this checkout until there are so many, under new ids,
and evaluates them in a temporary copy.
"""

from __future__ import annotations

import itertools
import shutil
import sys
import tempfile
from pathlib import Path

from benchmarks.stages import measure
from experiments.catalogue import ROOT
from experiments.copies import commands, copy_tracked
from knowtuning.core.records import Example, Prediction, R, read_jsonl, write_jsonl
from knowtuning.systems import SYSTEMS


def repeat(path: Path, kind: type[R], count: int) -> None:
    """Make a file of records `count` long, by copies with ids of their own."""
    rows = enumerate(itertools.islice(itertools.cycle(read_jsonl(path, kind)), count))
    write_jsonl(path, [row.model_copy(update={"id": f"{i:06d}-{row.id}"}) for i, row in rows])


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    if not (ROOT / "data/predictions/kc.jsonl").exists():
        raise SystemExit("error: data/predictions: not found; run `dvc repro` first")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        copy_tracked(folder)
        for part in ("data", "plots"):
            shutil.copytree(ROOT / part, folder / part, dirs_exist_ok=True)
        if (ROOT / ".cache/nltk_data").exists():
            shutil.copytree(ROOT / ".cache/nltk_data", folder / ".cache/nltk_data")
        repeat(folder / "data/prepared/test.jsonl", Example, count)
        for system in SYSTEMS:
            repeat(folder / f"data/predictions/{system}.jsonl", Prediction, count)
        known = dict(commands(folder))
        rows = [measure(known[stage], folder) for stage in ("verify", "evaluate", "report")]
        seconds, memory = sum(row[0] for row in rows), max(row[1] for row in rows)
        page = (folder / "report/index.html").stat().st_size / 1e6
    took = f"{seconds:.0f} s, {memory:.0f} MiB, report of {page:.1f} MB"
    print(f"\n{count} questions, {len(SYSTEMS)} systems: {took}")


if __name__ == "__main__":
    main()
