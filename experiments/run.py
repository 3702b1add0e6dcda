"""Run named experiments with DVC: `python -m experiments.run no-ka no-kcc --seeds 1 2 3`.

A name comes from the .yaml files beside this module; `default` is params.yaml as it stands, and
`--grid ablations` stands for `default` and every name of ablations.yaml. A run is `dvc exp run --temp -n
NAME -S key=value ...`: it works in a copy, so the checkout stays as it is; a stage that has run before is
restored from the cache, a stage that was killed goes on where it was. What has been made already, by the
same code with the same parameters, is skipped, so that the same command goes on after a kill. With --queue
the runs go to DVC's queue, and all that is in it runs, --jobs at a time. With --show the commands are printed
and nothing runs; without names the experiments are listed. At the end: DVC's table of the system kc
(experiments.study has more).
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from experiments.catalogue import (
    LISTS,
    ROOT,
    Params,
    applied,
    experiments,
    grid,
    overrides,
    run_name,
    words_of,
)
from experiments.finished import FinishedRuns, git
from knowtuning import terminal
from knowtuning.core.params import read_yaml

PARAMS = ROOT / "params.yaml"
# DVC writes the overrides into params.yaml for a moment: the file as it was, for a start after a kill.
KEPT = ROOT / ".dvc/tmp/params.before-experiments.yaml"
# BERTScore's name ends with the encoder in brackets.
METRICS = r"correct|incorrect|f1_at_k|completeness|order|bertscore\([^)]*\)|rougeL|words|repeated|truncated"
COLUMNS = rf"^Experiment$|^kc\.overall\.({METRICS})$"


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
    paths = [path.rstrip("/") for path in listed]
    return [path for path in paths if not path.endswith(".dvc") and not Path(ROOT, f"{path}.dvc").exists()]


def _left_by_experiment(before: Params, now: Params) -> bool:
    """Whether `now` is `before` with the values of an experiment."""
    for each in experiments(before).values():
        try:
            if now == applied(before, {**each["set"], "seed": now.get("seed")}):
                return True
        except ValueError:
            # Kept before an update brought the key that this experiment sets, which so cannot have run.
            continue
    return False


def restore_params() -> None:
    """Put params.yaml back where a killed start left an experiment's values in it; other edits stay."""
    if KEPT.exists():
        before, now = read_yaml(KEPT), read_yaml(PARAMS)
        if now != before and _left_by_experiment(before, now):
            print("params.yaml held an experiment's values; it is put back as it was before")
            PARAMS.write_bytes(KEPT.read_bytes())
        KEPT.unlink()


def missing(runs: list[Run]) -> list[Run]:
    """The runs that have not been made yet, each named once.

    Raises ValueError where this commit has an experiment of that name made in another way: DVC would refuse.
    """
    finished, head = FinishedRuns(), git("rev-parse", "HEAD").strip()
    left = []
    for run in dict.fromkeys(runs):
        if finished.find(run.experiment, run.seed):
            print(f"{run.name}: there already")
        elif any(other.baseline == head for other in finished.runs.get(run.name, [])):
            raise ValueError(
                f"this commit has an experiment {run.name} made by other code or parameters; keep it with "
                f"`dvc exp rename {run.name} NEW` or `dvc exp remove {run.name}`, and start again"
            )
        else:
            left.append(run)
    return left


def dvc(words: list[str]) -> int:
    """Run a command of DVC in this checkout; its exit status."""
    print(shlex.join(words), flush=True)
    return subprocess.run(words, cwd=ROOT, check=False).returncode


def one_after_another(runs: list[Run]) -> None:
    """Run them in this process, up to the first that fails.

    Raises ValueError where params.yaml was edited meanwhile: DVC would take that into the runs that are left.
    """
    raw = raw_files()
    for run in runs:
        if read_yaml(PARAMS) != read_yaml(KEPT):
            raise ValueError(
                f"params.yaml is not what it was when this began; {run.name} and all behind it have not "
                "run: start again for runs with the file as it is now"
            )
        if dvc(run.command(raw=raw)):
            return


def by_queue(runs: list[Run], jobs: int) -> None:
    """Queue what is not in DVC's queue yet, and run all that is in it."""
    from dvc.repo import Repo

    with Repo(str(ROOT)) as repo:
        queue = repo.experiments.celery_queue
        waiting = {entry.name for entry in (*queue.iter_queued(), *queue.iter_active())}
    raw = raw_files()
    for run in runs:
        if run.name not in waiting:
            dvc(run.command(queue=True, raw=raw))
    dvc(["dvc", "exp", "run", "--run-all", "--jobs", str(jobs)])


def run_all(runs: list[Run], *, queue: bool, jobs: int) -> None:
    """Run what has not been made, from params.yaml as it is now, and leave it so.

    Raises ValueError where one failed.
    """
    restore_params()
    KEPT.parent.mkdir(parents=True, exist_ok=True)
    KEPT.write_bytes(PARAMS.read_bytes())
    try:
        left = missing(runs)
        if left:
            by_queue(left, jobs) if queue else one_after_another(left)
    finally:
        restore_params()
    finished = FinishedRuns() if left else None
    failed = [run.name for run in left if finished and not finished.find(run.experiment, run.seed)]
    words = ["dvc", "exp", "show", "--md", "--hide-workspace", "--precision", "3"]
    subprocess.run([*words, "--drop", ".*", "--keep", COLUMNS], cwd=ROOT, check=False)
    if failed:
        logs = "`dvc queue logs NAME` says why; " if queue else ""
        raise ValueError(f"not done: {', '.join(failed)}; {logs}mend it and start again")


def chosen(arguments: argparse.Namespace) -> list[Run]:
    """The runs that the arguments name, all experiments of a seed before the next seed."""
    names = [*arguments.names, *(name for part in arguments.grid for name in grid(part))]
    known = experiments()
    if unknown := [name for name in names if name not in known]:
        raise ValueError(f"no experiment {', '.join(unknown)}; expected one of {', '.join(known)}")
    return [Run(name, seed) for seed in arguments.seeds or [None] for name in dict.fromkeys(names)]


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("names", nargs="*", help="experiments to run, in this order")
    parser.add_argument("--grid", nargs="+", default=[], choices=LISTS, help="whole lists, default first")
    parser.add_argument("--seeds", nargs="*", type=int, help="run each once a seed (default: params.yaml's)")
    parser.add_argument("--queue", action="store_true", help="run them by DVC's queue")
    parser.add_argument("--jobs", type=int, default=1, help="workers of the queue (default: 1)")
    parser.add_argument("--show", action="store_true", help="print the commands, run nothing")
    return parser.parse_args()


def main() -> None:
    # `dvc`, and the `python` of the stages, are those beside this interpreter.
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    arguments = parse()
    runs = chosen(arguments)
    if not runs:
        print("\n".join(f"{name:<18}{entry['about']}" for name, entry in experiments().items()))
    elif arguments.show:
        print("\n".join(shlex.join(run.command(queue=arguments.queue)) for run in runs))
    else:
        run_all(runs, queue=arguments.queue, jobs=arguments.jobs)


if __name__ == "__main__":
    terminal.run(main)
