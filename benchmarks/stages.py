"""Time and peak memory of every stage: `python -m benchmarks.stages [EXPERIMENT] [--raw FOLDER]`.

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
from pathlib import Path
from typing import Any

from experiments.catalogue import experiments
from experiments.copies import commands, copy_tracked, set_params


def overrides(name: str) -> dict[str, Any]:
    """What a named experiment sets."""
    known = experiments()
    if name not in known:
        raise SystemExit(f"error: no experiment {name}; expected one of {', '.join(known)}")
    changes: dict[str, Any] = known[name]["set"]
    return changes


def measure(command: str, folder: Path) -> tuple[float, float]:
    """Seconds and peak memory (MiB) of a shell command run in `folder`. Its failure ends the run."""
    # `python` is this interpreter, as when DVC of the same environment runs the command.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    environment = {**os.environ, "PATH": path, "DVC_ROOT": str(folder), "TQDM_DISABLE": "1"}
    start = time.monotonic()
    child = subprocess.Popen(command, shell=True, cwd=folder, env=environment)
    _, status, usage = os.wait4(child.pid, 0)
    seconds = time.monotonic() - start
    if status:
        raise SystemExit(f"error: {command} ended with status {status}")
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
        rows = {stage: measure(command, folder) for stage, command in commands(folder)}
    rows["all"] = sum(row[0] for row in rows.values()), max(row[1] for row in rows.values())
    print(f"\n| stage ({arguments.experiment}) | seconds | peak MiB |\n|---|---:|---:|")
    for stage, (seconds, memory) in rows.items():
        print(f"| {stage} | {seconds:.1f} | {memory:.0f} |")


if __name__ == "__main__":
    main()
