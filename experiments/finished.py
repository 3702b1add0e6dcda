"""Experiments that have been run: what `dvc exp run` left in git under refs/exps/<commit>/<name>.

An experiment counts as *there* when the code, prompts and raw data that its dvc.lock records are those of
this checkout and its params.yaml is what the run would use. One of the same name made by other code is
another experiment.
"""

from __future__ import annotations

import functools
import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from experiments.catalogue import ROOT, Params, applied, overrides, read_yaml, run_name

Code = dict[str, dict[str, str]]


def git(*words: str) -> str:
    """What a git command prints."""
    return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout


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
        params: Params = read_yaml(self.text("params.yaml"))
        return params

    @functools.cached_property
    def code(self) -> Code:
        """stage -> path -> md5 of everything a stage read that no stage writes."""
        import yaml

        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        stages = yaml.load(self.text("dvc.lock"), loader)["stages"]  # noqa: S506 (a safe loader)
        made = {out["path"] for stage in stages.values() for out in stage.get("outs", [])}
        return {
            name: {dep["path"]: dep["md5"] for dep in stage.get("deps", []) if _given(dep["path"], made)}
            for name, stage in stages.items()
        }


def _given(path: str, made: set[str]) -> bool:
    """Whether no stage makes `path`, what it lies in or something in it; params are compared apart."""
    if path == "params.yaml":
        return False
    return not any(path == f or path.startswith(f"{f}/") or f.startswith(f"{path}/") for f in made)


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
    """The same as `Finished.code` for the files of this checkout, hashed by DVC."""
    from dvc.dependency import ParamsDependency
    from dvc.repo import Repo

    with Repo(str(ROOT)) as repo:
        # Stages of dvc.yaml have a name; those that stand for a tracked file have none.
        stages = [stage for stage in repo.index.stages if getattr(stage, "name", None)]
        made = {out.def_path for stage in stages for out in stage.outs}
        return {
            stage.name: {
                dep.def_path: str(dep.get_hash().value)
                for dep in stage.deps
                if not isinstance(dep, ParamsDependency) and _given(dep.def_path, made)
            }
            for stage in stages
        }


class Shelf:
    """The experiments that are there, for one state of the checkout."""

    def __init__(self, baseline: str | None = None) -> None:
        """baseline: take the experiments that started from this commit, whatever their code and params."""
        self.runs: dict[str, list[Finished]] = {}
        wanted = git("rev-parse", baseline).strip() if baseline else None
        for run in all_finished():
            if wanted in (None, run.baseline):
                self.runs.setdefault(run.name, []).append(run)
        self.by_name_alone = baseline is not None
        self.code: Code = {} if baseline else code_here()
        self.params: Params = read_yaml((ROOT / "params.yaml").read_text(encoding="utf-8"))

    def find(self, name: str, seed: int | None) -> Finished | None:
        """The newest run of an experiment that is there; none where it has to be run."""
        candidates = self.runs.get(run_name(name, seed), [])
        if self.by_name_alone:
            return candidates[0] if candidates else None
        params = applied(self.params, overrides(name, seed))
        return next((run for run in candidates if run.params == params and self.same_code(run)), None)

    def same_code(self, run: Finished) -> bool:
        """Whether every stage of this checkout read the same code, prompts and raw data in that run."""
        return all(run.code.get(stage) == paths for stage, paths in self.code.items())
