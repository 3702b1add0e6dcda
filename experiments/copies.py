"""Copies of this checkout with other parameters, and the commands of their stages."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from ruamel.yaml import YAML

from experiments.catalogue import ROOT, Params, applied


def copy_tracked(target: Path) -> None:
    """The files git tracks, as they are in the working tree."""
    words = ["git", "ls-files", "-z"]
    listed = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)


def set_params(path: Path, changes: Params) -> None:
    """Write `changes` (dotted keys) into a params file; its comments stay.

    Raises ValueError on a key it does not have.
    """
    yaml = YAML()
    params = applied(yaml.load(path.read_text(encoding="utf-8")), changes)
    with path.open("w", encoding="utf-8") as stream:
        yaml.dump(params, stream)


def commands(folder: Path) -> Iterator[tuple[str, str]]:
    """(stage, command for a shell) in the order of dvc.yaml, which is an order of the graph."""
    stages = YAML(typ="safe").load((folder / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    for name, stage in stages.items():
        for system in stage.get("matrix", {}).get("system", [""]):
            label = f"{name}@{system}" if system else name
            yield label, stage["cmd"].replace("${item.system}", system)
