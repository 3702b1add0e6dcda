"""Time and peak memory of every stage: `python benchmarks/stages.py [EXPERIMENT] [--raw FOLDER]`.

Runs the stages of dvc.yaml one after another, without DVC, in a temporary copy of the tracked files, with the
overrides of a named experiment; --raw is copied to data/raw there. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from experiments.catalogue import experiments  # noqa: E402


def copy_tracked(target: Path) -> None:
    """The files git tracks, as they are in the working tree."""
    words = ["git", "ls-files", "-z"]
    listed = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)


def overrides(name: str) -> dict[str, Any]:
    """What a named experiment sets."""
    found = experiments()
    if name not in found:
        raise SystemExit(f"error: no experiment {name}; expected one of {', '.join(found)}")
    changes: dict[str, Any] = found[name]["set"]
    return changes


def set_params(path: Path, changes: dict[str, Any]) -> None:
    """Write `changes` (dotted keys) into a params file."""
    yaml = YAML()
    params = yaml.load(path.read_text(encoding="utf-8"))
    for key, value in changes.items():
        *parents, last = key.split(".")
        section = params
        for part in parents:
            section = section[part]
        section[last] = value
    with path.open("w", encoding="utf-8") as stream:
        yaml.dump(params, stream)


def commands(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """(stage, command) in the order of dvc.yaml, which is an order of the graph."""
    stages = YAML(typ="safe").load((folder / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    for name, stage in stages.items():
        systems = stage.get("matrix", {}).get("system", [""])
        for system in systems:
            words = stage["cmd"].replace("${item.system}", system).split()
            yield f"{name}@{system}" if system else name, [sys.executable, *words[1:]]


def measure(words: list[str], folder: Path) -> tuple[float, float]:
    """Seconds and peak memory (MiB) of a command run in `folder`. Its failure ends the run."""
    environment = {**os.environ, "DVC_ROOT": str(folder), "TQDM_DISABLE": "1"}
    start = time.monotonic()
    child = subprocess.Popen(words, cwd=folder, env=environment)
    _, status, usage = os.wait4(child.pid, 0)
    seconds = time.monotonic() - start
    if status:
        raise SystemExit(f"error: {' '.join(words)} ended with status {status}")
    return seconds, usage.ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("experiment", nargs="?", default="default")
    parser.add_argument("--raw", type=Path, help="folder whose files the experiment finds under data/raw")
    arguments = parser.parse_args()
    changes = overrides(arguments.experiment)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        copy_tracked(folder)
        set_params(folder / "params.yaml", changes)
        if arguments.raw:
            shutil.copytree(arguments.raw, folder / "data/raw", dirs_exist_ok=True)
        rows = {stage: measure(words, folder) for stage, words in commands(folder)}
    rows["all"] = sum(row[0] for row in rows.values()), max(row[1] for row in rows.values())
    print(f"\n| stage ({arguments.experiment}) | seconds | peak MiB |\n|---|---:|---:|")
    for stage, (seconds, memory) in rows.items():
        print(f"| {stage} | {seconds:.1f} | {memory:.0f} |")


if __name__ == "__main__":
    main()
