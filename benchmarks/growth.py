"""Time and memory as the data grow: `python benchmarks/growth.py [STAGE ...]`, one thread.

Scores, trains and answers with 1, 4 and 16 times the rows of this checkout (`make repro` makes them), one
epoch, each run a process of its own. Writes benchmarks/growth.md. Time: of the processor, without imports.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from benchmarks.compare import machine, project, run_side  # noqa: E402

FACTORS = (1, 4, 16)
# Stage -> the files it reads, whose rows are multiplied.
FILES = {
    "score": ["data/knowledge/atoms.jsonl"],
    "train_ka": ["data/prepared/train.jsonl", "data/knowledge/ka.jsonl"],
    "train_kc": ["data/knowledge/kc.jsonl"],
    "predict": ["data/prepared/test.jsonl"],
}
# The number of evaluations is fixed, as is the number of rows they take, so few of them hide no growth.
CHANGES = {f"train_{name}.{key}": 1 for name in ("ka", "kc") for key in ("epochs", "eval_every")}


def copies(line: str, factor: int) -> list[str]:
    """`factor` rows that differ in their ids and questions, so that nothing can be computed once for all."""
    row = json.loads(line)
    found = []
    for number in range(factor):
        changes = {key: f"{row[key]}#{number}" for key in ("id", "source") if key in row}
        changes["question"] = f"{number % 10} {row['question']}"
        found.append(json.dumps({**row, **changes}, ensure_ascii=False))
    return found


def grown(folder: Path, stage: str, factor: int) -> int:
    """Multiply what the stage reads; returns its number of rows."""
    rows = 0
    for name in FILES[stage]:
        lines = (folder / name).read_text(encoding="utf-8").splitlines()
        more = [copy for line in lines for copy in copies(line, factor)]
        (folder / name).write_text("".join(f"{line}\n" for line in more), encoding="utf-8")
        rows += len(more)
    return rows


def measure(stage: str, factor: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as name:
        project(ROOT, Path(name), CHANGES, None)
        rows = grown(Path(name), stage, factor)
        found = run_side(stage, "ours", Path(name))
    print(f"{stage} x{factor}: {found['cpu']:.1f} s, {found['peak']:.0f} MiB", file=sys.stderr)
    return {"rows": rows, "cpu": found["cpu"], "peak": found["peak"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("stages", nargs="*", help=f"of {', '.join(FILES)}; default: all")
    arguments = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    lines = [
        "# Growth",
        "",
        f"Made by `python benchmarks/growth.py`, which says how. {machine()}.",
        "",
        "| stage | rows | processor s | a row, ms | peak MiB |",
        "|---|---:|---:|---:|---:|",
    ]
    for stage in arguments.stages or FILES:
        for factor in FACTORS:
            found = measure(stage, factor)
            each = 1000 * found["cpu"] / found["rows"]
            lines.append(
                f"| {stage} | {found['rows']} | {found['cpu']:.1f} | {each:.2f} | {found['peak']:.0f} |"
            )
    (ROOT / "benchmarks/growth.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
