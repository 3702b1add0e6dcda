"""Experiments that have been run: what `dvc exp run` left in git under refs/exps/<commit>/<name>.

An experiment counts as made when the code, prompts and raw data that its dvc.lock records are those of
this checkout and its params.yaml is what the run would use. One of the same name made by other code is
another experiment.
"""

from __future__ import annotations

import functools
import json
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ruamel.yaml import YAML

from experiments.catalogue import ROOT, Params, applied, overrides, run_name
from knowtuning.core.params import read_yaml

# (stage, path) -> md5 of what a stage reads and no stage writes.
Code = dict[tuple[str, str], str]
SOURCES = ("src/", "stages/", "prompts", "data/raw")


def git(*words: str) -> str:
    """What a git command prints. Raises ValueError where it fails, as in a folder that is no repository."""
    done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ValueError(f"`git {' '.join(words)}` failed: {' '.join(done.stderr.split())}")
    return done.stdout


@dataclass(frozen=True)
class Finished:
    """A run: its name, its commit, and the commit it started from."""

    name: str
    commit: str
    baseline: str

    def text(self, path: str) -> str:
        """A file that git keeps, as the run left it."""
        return git("show", f"{self.commit}:{path}")

    def json(self, path: str) -> Any:
        """A metrics file as the run left it."""
        return json.loads(self.text(path))

    def output(self, path: str) -> str:
        """A file that DVC keeps, from its cache or else from the default remote."""
        import dvc.api

        return str(dvc.api.read(path, repo=str(ROOT), rev=self.commit, encoding="utf-8"))

    @functools.cached_property
    def params(self) -> Params:
        params: Params = YAML(typ="safe", pure=True).load(self.text("params.yaml"))
        return params

    @functools.cached_property
    def code(self) -> Code:
        import yaml

        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        stages = yaml.load(self.text("dvc.lock"), loader)["stages"]  # noqa: S506 (a safe loader)
        deps = [(name, dep) for name, stage in stages.items() for dep in stage.get("deps", [])]
        return {(name, dep["path"]): dep["md5"] for name, dep in deps if dep["path"].startswith(SOURCES)}


def all_finished() -> Iterator[Finished]:
    """Every experiment of the repository, the newest first."""
    form = "--format=%(objectname) %(refname)"
    for line in git("for-each-ref", form, "--sort=-committerdate", "refs/exps").splitlines():
        commit, ref = line.split(" ", 1)
        parts = ref.split("/")
        # refs/exps/ab/<38 more hex digits>/name; exec, stash and celery are DVC's own.
        if len(parts) == 5 and len(parts[2]) == 2:
            yield Finished(parts[4], commit, parts[2] + parts[3])


def code_here() -> Code:
    """`Finished.code` of the files of this checkout, hashed by DVC."""
    from dvc.repo import Repo

    with Repo(str(ROOT)) as repo:
        # Stages of dvc.yaml have a name; those that stand for a tracked file have none.
        stages = [stage for stage in repo.index.stages if getattr(stage, "name", None)]
        deps = [(stage.name, dep) for stage in stages for dep in stage.deps]
        return {
            (name, dep.def_path): str(dep.get_hash().value)
            for name, dep in deps
            if dep.def_path.startswith(SOURCES)
        }


class FinishedRuns:
    """The experiments that are made, for one state of the checkout."""

    def __init__(self, baselines: Sequence[str] = ()) -> None:
        """baselines: take the experiments that started from these commits, whatever their code and params."""
        self.runs: dict[str, list[Finished]] = {}
        wanted = {git("rev-parse", baseline).strip() for baseline in baselines}
        for run in all_finished():
            if not wanted or run.baseline in wanted:
                self.runs.setdefault(run.name, []).append(run)
        self.by_name_alone = bool(wanted)
        self.code: Code = {} if wanted else code_here()
        self.params: Params = read_yaml(ROOT / "params.yaml")

    def find(self, name: str, seed: int | None) -> Finished | None:
        """The newest run of an experiment; None where it has to be run."""
        candidates = self.runs.get(run_name(name, seed), [])
        if self.by_name_alone:
            return candidates[0] if candidates else None
        params = applied(self.params, overrides(name, seed))
        return next(
            (run for run in candidates if run.params == params and self.code.items() <= run.code.items()),
            None,
        )
