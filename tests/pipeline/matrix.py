"""Which stages every params key, module and prompt re-runs: `python tests/pipeline/matrix.py` writes
invalidation.yaml anew. Asked is DVC itself, in a copy of the project: one thing is changed, DVC compares the
dependencies of every stage with what they were, and the stages behind the changed ones in its graph run too.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.stages import copy_tracked
from experiments.catalogue import applied

GOLDEN = Path(__file__).with_name("invalidation.yaml")
NOTHING = "nothing"
# What stages make: absent in a copy without data, or of its own.
MADE = ("data/", "models/", "plots/", "metrics/")
Matrix = dict[str, dict[str, list[str]]]


def leaves(params: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted key and value of every leaf."""
    for key, value in params.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


@contextmanager
def changed(path: Path, text: str) -> Iterator[None]:
    """A file with another text, for the length of the block."""
    before = path.read_text(encoding="utf-8")
    path.write_text(text, encoding="utf-8")
    try:
        yield
    finally:
        path.write_text(before, encoding="utf-8")


class Graph:
    """The stages of a copy of the project, as DVC sees them."""

    def __init__(self, folder: Path) -> None:
        from dvc.dependency import ParamsDependency
        from dvc.repo import Repo

        self.folder = folder
        self.repo = Repo(str(folder))
        self.stages = [stage for stage in self.repo.index.stages if getattr(stage, "name", None)]
        self.order = [stage.name for stage in self.stages]
        self.params: list[tuple[Any, Any]] = []
        self.files: dict[str, list[Any]] = {}
        self.deps: dict[str, Any] = {}
        for stage in self.stages:
            for dep in stage.deps:
                if isinstance(dep, ParamsDependency):
                    self.params.append((stage, dep))
                elif not dep.def_path.startswith(MADE):
                    self.files.setdefault(dep.def_path, []).append(stage)
                    self.deps[dep.def_path] = dep
        self.values = self.read_params()
        self.hashes = {path: dep.get_hash().value for path, dep in self.deps.items()}

    def read_params(self) -> list[Any]:
        """The values of every stage's parameters, in the order of `params`."""
        return [dep.read_params() for _, dep in self.params]

    def of_params(self) -> str:
        """The stages that run when params.yaml is what it is now."""
        pairs = zip(self.params, self.values, self.read_params(), strict=True)
        return self.onward([stage for (stage, _), before, now in pairs if before != now])

    def of_file(self, name: str) -> str:
        """The stages that run when this file is what it is now."""
        touched = []
        for path, stages in self.files.items():
            # DVC looks at a file for its own dependency and for those on a folder above it.
            near = name == path or name.startswith(f"{path}/")
            if near and self.deps[path].get_hash().value != self.hashes[path]:
                touched += stages
        return self.onward(touched)

    def onward(self, touched: list[Any]) -> str:
        """These stages and those behind them, in the order of dvc.yaml, as one line."""
        import networkx

        # Edges lead from a stage to what it needs, so the stages behind it are its ancestors.
        graph = self.repo.index.graph
        names = {s.name for stage in touched for s in (stage, *networkx.ancestors(graph, stage))}
        return " ".join(name for name in self.order if name in names) or NOTHING


def by_params(graph: Graph) -> Iterator[tuple[str, str]]:
    """(stages, key) for every leaf of params.yaml, given another value."""
    path = graph.folder / "params.yaml"
    text = path.read_text(encoding="utf-8")
    params = yaml.safe_load(text)
    for key, value in leaves(params):
        other = yaml.dump(applied(params, {key: f"not {value}"}), Dumper=yaml.CSafeDumper)
        with changed(path, other):
            yield graph.of_params(), key


def by_files(graph: Graph) -> Iterator[tuple[str, str]]:
    """(stages, path) for every module, stage script and prompt, given another line."""
    for folder, pattern in (("src", "*.py"), ("stages", "*.py"), ("prompts", "*")):
        for path in sorted((graph.folder / folder).rglob(pattern)):
            if path.is_file():
                name = path.relative_to(graph.folder).as_posix()
                with changed(path, path.read_text(encoding="utf-8") + "\n"):
                    yield graph.of_file(name), name


@contextmanager
def fast_yaml() -> Iterator[None]:
    """DVC reads params.yaml once a stage and key: let it do so with the C parser."""
    from dvc.utils import serialize

    slow = serialize.LOADERS[".yaml"]
    serialize.LOADERS[".yaml"] = lambda path, *_, **__: yaml.load(Path(path).read_text(), yaml.CSafeLoader)
    try:
        yield
    finally:
        serialize.LOADERS[".yaml"] = slow


def matrix(folder: Path) -> Matrix:
    """Stages -> what re-runs exactly these; for params and for files. `folder` must be empty."""
    copy_tracked(folder)
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    result: Matrix = {}
    with fast_yaml():
        graph = Graph(folder)
        for title, found in (("params", by_params(graph)), ("files", by_files(graph))):
            for stages, name in found:
                result.setdefault(title, {}).setdefault(stages, []).append(name)
    return result


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        found = matrix(Path(folder))
    head = (
        "# Which stages run again when a params key or a file changes: stages -> keys or files.\n"
        "# Written by `python tests/pipeline/matrix.py`; read the difference before you commit it.\n"
    )
    GOLDEN.write_text(head + yaml.safe_dump(found, sort_keys=False, width=1000), encoding="utf-8")


if __name__ == "__main__":
    main()
