"""Run named experiments with DVC: `python -m experiments.run no-ka no-kcc --seeds 1 2 3`.

A name comes from the .yaml files beside this module; `default` is params.yaml as it stands, and
`--grid ablations` stands for `default` and every name of ablations.yaml. A run is `dvc exp run --temp -n
NAME -S key=value ...`: it works in a copy, so the checkout stays as it is; a stage that has run before is
restored from the cache, a stage that was killed goes on where it was. What is there already, made by the same
code with the same parameters, is skipped, so that the same command goes on after a kill. With --queue DVC
runs them, --jobs at a time. With --show the commands are printed and nothing runs; without names the
experiments are listed. At the end: DVC's table of the system kc (Markdown: experiments.study).
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from experiments import queued
from experiments.catalogue import GRIDS, ROOT, experiments, grid, overrides, run_name, words_of
from experiments.finished import Shelf, git

PARAMS = ROOT / "params.yaml"
# DVC writes the overrides into params.yaml for a moment: the file as it was, for a start after a kill.
KEPT = ROOT / ".dvc/tmp/params.before-experiments.yaml"
COLUMNS = r"^Experiment$|^kc\.overall\.(correct|incorrect|completeness|order|meteor|rougeL)$"


@dataclass(frozen=True)
class Run:
    """An experiment at a seed (None: the seed of params.yaml)."""

    experiment: str
    seed: int | None

    @property
    def name(self) -> str:
        return run_name(self.experiment, self.seed)

    def command(self, *, queue: bool = False, raw: list[str] | None = None) -> list[str]:
        """The `dvc exp run` command; raw: files under data/raw that git does not carry into the copy."""
        words = ["dvc", "exp", "run", "--queue" if queue else "--temp", "--name", self.name]
        words += [word for path in raw or [] for word in ("--copy-paths", path)]
        return words + words_of(overrides(self.experiment, self.seed))


def raw_files() -> list[str]:
    """Files and folders under data/raw that neither git nor DVC would put into a copy of the project."""
    listed = git("ls-files", "--others", "--directory", "data/raw").splitlines()
    found = [path.rstrip("/") for path in listed]
    return [path for path in found if not path.endswith(".dvc") and not Path(ROOT, f"{path}.dvc").exists()]


def restore_params() -> None:
    """Put params.yaml back where a killed start left an experiment's values in it."""
    if KEPT.exists():
        if KEPT.read_bytes() != PARAMS.read_bytes():
            print("params.yaml held an experiment's values; it is put back as it was before")
            PARAMS.write_bytes(KEPT.read_bytes())
        KEPT.unlink()


def missing(runs: list[Run]) -> list[Run]:
    """The runs that are not there yet, each named once.

    Raises ValueError where this commit has an experiment of that name made in another way: DVC would refuse.
    """
    shelf, wanted, head = Shelf(), list(dict.fromkeys(runs)), git("rev-parse", "HEAD").strip()
    there = [run for run in wanted if shelf.find(run.experiment, run.seed)]
    for run in wanted:
        taken = any(found.baseline == head for found in shelf.runs.get(run.name, []))
        if taken and run not in there:
            raise ValueError(
                f"this commit has an experiment {run.name} made by other code or parameters; keep it with "
                f"`dvc exp rename {run.name} NEW` or `dvc exp remove {run.name}`, and start again"
            )
    for run in there:
        print(f"{run.name}: there already")
    return [run for run in wanted if run not in there]


def one_after_another(runs: list[Run]) -> int:
    """Run them in this process; stops at the first that fails, and says which are not done."""
    raw = raw_files()
    for index, run in enumerate(runs):
        words = run.command(raw=raw)
        print(shlex.join(words), flush=True)
        status = subprocess.run(words, cwd=ROOT, check=False).returncode
        if status:
            left = ", ".join(each.name for each in runs[index:])
            sys.stderr.write(f"error: {run.name} failed; not done: {left}; mend it and start again\n")
            return status
    return 0


def by_queue(runs: list[Run], jobs: int) -> int:
    """Queue what is not in the queue yet, start the workers and wait for them."""
    raw, waiting = raw_files(), queued.clear_ended([run.name for run in runs])
    for run in runs:
        if run.name not in waiting:
            subprocess.run(run.command(queue=True, raw=raw), cwd=ROOT, check=True)
    failed = queued.work([run.name for run in runs], jobs)
    for name in failed:
        sys.stderr.write(f"error: {name} failed; see `dvc queue logs {name}`, mend it and start again\n")
    return 1 if failed else 0


def table() -> None:
    """DVC's table of the experiments of this commit, the main metrics of kc alone."""
    words = ["dvc", "exp", "show", "--md", "--hide-workspace", "--precision", "3"]
    subprocess.run([*words, "--drop", ".*", "--keep", COLUMNS], cwd=ROOT, check=False)


def chosen(arguments: argparse.Namespace) -> list[Run]:
    """The runs that the arguments name, all experiments of a seed before the next seed."""
    names = list(arguments.names)
    if arguments.file:
        lines = arguments.file.read_text(encoding="utf-8").splitlines()
        names += [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    for name in arguments.grid:
        names += grid(name)
    return [Run(name, seed) for seed in arguments.seeds or [None] for name in dict.fromkeys(names)]


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("names", nargs="*", help="experiments to run, in this order")
    parser.add_argument("--grid", nargs="+", default=[], choices=GRIDS, help="whole lists, default first")
    parser.add_argument("--file", type=Path, help="a file with an experiment a line")
    parser.add_argument("--seeds", nargs="*", type=int, help="run each once a seed (default: params.yaml's)")
    parser.add_argument("--queue", action="store_true", help="run them by DVC's queue")
    parser.add_argument("--jobs", type=int, default=1, help="workers of the queue (default: 1)")
    parser.add_argument("--show", action="store_true", help="print the commands, run nothing")
    return parser.parse_args()


def run_all(runs: list[Run], *, queue: bool, jobs: int) -> int:
    """Run what is not there, from params.yaml as it is now, and leave it so."""
    restore_params()
    KEPT.parent.mkdir(parents=True, exist_ok=True)
    KEPT.write_bytes(PARAMS.read_bytes())
    try:
        todo = missing(runs)
        status = by_queue(todo, jobs) if queue else one_after_another(todo)
    finally:
        restore_params()
    table()
    return status


def main() -> int:
    # `dvc`, and the `python` of the stages, are those beside this interpreter.
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    arguments = parse()
    known, runs = experiments(), chosen(arguments)
    unknown = [run.experiment for run in runs if run.experiment not in known]
    if unknown:
        expected = ", ".join(known)
        sys.stderr.write(f"error: no experiment {', '.join(unknown)}; expected one of {expected}\n")
        return 1
    if not runs:
        for name, entry in known.items():
            print(f"{name:<18}{entry['about']}")
        return 0
    if arguments.show:
        for run in runs:
            print(shlex.join(run.command(queue=arguments.queue)))
        return 0
    try:
        return run_all(runs, queue=arguments.queue, jobs=arguments.jobs)
    except ValueError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main())
