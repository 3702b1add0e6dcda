"""Time and peak memory of the evaluate stage on many questions: `python benchmarks/evaluate.py [QUESTIONS]`.

Repeats the questions and answers of the finished run in this checkout until there are so many, under new ids,
and evaluates them in a temporary copy.
"""

from __future__ import annotations

import itertools
import shutil
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from benchmarks.stages import copy_tracked, measure  # noqa: E402
from knowtuning.core.records import SYSTEMS, Example, Prediction, R, read_jsonl, write_jsonl  # noqa: E402


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
        seconds, memory = measure([sys.executable, "-m", "stages.evaluate"], folder)
        page = (folder / "report/index.html").stat().st_size / 1e6
    took = f"{seconds:.0f} s, {memory:.0f} MiB, report of {page:.1f} MB"
    print(f"\n{count} questions, {len(SYSTEMS)} systems: {took}")


if __name__ == "__main__":
    main()
