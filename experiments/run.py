"""Run named experiments with DVC: `python experiments/run.py no-ka no-kcc --seeds 1 2 3`.

A name comes from the .yaml files beside this script; `default` is params.yaml as it stands. Each run is
`dvc exp run -n NAME -S key=value ...`. An experiment that exists is skipped (`dvc exp remove` it to run it
again), a stage that has run before is restored from the cache. DVC leaves the overrides of a run in
params.yaml, where the next one would inherit them: each run here starts from the file as it was, and it is
put back at the end (`dvc repro` then restores the outputs too). With --show the commands are printed and
nothing runs; without names the experiments are listed.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

HERE = Path(__file__).resolve().parent


def experiments() -> dict[str, dict[str, Any]]:
    """All named experiments: name -> about, set."""
    found: dict[str, dict[str, Any]] = {"default": {"about": "params.yaml as it stands", "set": {}}}
    for path in sorted(HERE.glob("*.yaml")):
        for name, entry in YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8")).items():
            if name in found:
                raise ValueError(f"{path}: the experiment {name} is defined twice; rename one")
            found[name] = entry
    return found


def command(name: str, overrides: dict[str, Any], seed: int | None) -> list[str]:
    """The `dvc exp run` command of an experiment; with a seed, its name ends in -s<seed>."""
    if seed is not None:
        overrides, name = {**overrides, "seed": seed}, f"{name}-s{seed}"
    words = ["dvc", "exp", "run", "--name", name]
    for key, value in overrides.items():
        words += ["--set-param", f"{key}={json.dumps(value) if not isinstance(value, str) else value}"]
    return words


def existing() -> set[str]:
    """The names of the experiments this repository has, whatever commit they started from."""
    words = ["dvc", "exp", "list", "--all-commits", "--name-only"]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def run_all(commands: list[list[str]], params: Path) -> int:
    """Run the commands, each with `params` as it was at first; stops at the first that fails."""
    original = params.read_bytes()
    there = existing()
    try:
        for words in commands:
            if words[4] in there:
                print(f"{words[4]}: there already")
                continue
            print(shlex.join(words), flush=True)
            params.write_bytes(original)
            status = subprocess.run(words, check=False).returncode
            if status:
                return status
    finally:
        params.write_bytes(original)
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("names", nargs="*", help="experiments to run, in this order")
    parser.add_argument("--seeds", nargs="*", type=int, help="run each once a seed (default: params.yaml's)")
    parser.add_argument("--show", action="store_true", help="print the commands, run nothing")
    arguments = parser.parse_args()
    known = experiments()
    unknown = [name for name in arguments.names if name not in known]
    if unknown:
        sys.stderr.write(f"error: no experiment {', '.join(unknown)}; expected one of {', '.join(known)}\n")
        return 1
    if not arguments.names:
        for name, entry in known.items():
            print(f"{name:<18}{entry['about']}")
    commands = [
        command(name, known[name]["set"], seed)
        for seed in arguments.seeds or [None]
        for name in arguments.names
    ]
    if arguments.show:
        print("".join(f"{shlex.join(words)}\n" for words in commands), end="")
        return 0
    return run_all(commands, Path("params.yaml"))


if __name__ == "__main__":
    sys.exit(main())
