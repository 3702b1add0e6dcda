"""The shell commands of the documentation, and a copy of the project to type them in."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from experiments.copies import copy_tracked
from tests.support.checkout import ROOT
from tests.support.shell import run

# A world and trainings of seconds.
TINY = {
    "prepare.world.towns.train": 12,
    "prepare.world.towns.valid": 3,
    "prepare.world.towns.test": 4,
    "prepare.world.towns.guide": 6,
    "prepare.world.train_general": 16,
    "prepare.world.train_specific": 20,
    "base.scratch.max_steps": 20,
    **{f"train_{system}.epochs": 1 for system in ("sft", "ka", "kc")},
    "train_kc.eval_rows": 5,
    "predict.max_new_tokens": 16,
    "evaluate.resamples": 1000,
}
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(page: Path) -> list[str]:
    """The ```sh blocks of a page."""
    return re.findall(r"^```sh\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def commands(page: Path) -> list[str]:
    """The single commands of a page; a command that goes on over lines, or feeds a file, is one."""
    joined: list[str] = []
    for block in blocks(page):
        lines = iter(block.splitlines())
        for line in lines:
            command = line
            while command.endswith("\\"):
                command = command[:-1].rstrip() + " " + next(lines).strip()
            marker = re.search(r"<<'(\w+)'", command)
            while marker and not command.endswith(f"\n{marker.group(1)}"):
                command += f"\n{next(lines)}"
            command = re.sub(r"\s{2,}# .*$", "", command).strip()
            if command and not command.startswith("#"):
                joined.append(command)
    return joined


def project_copy(folder: Path) -> Path:
    """The tracked files, committed, with this environment in the place of .venv."""
    folder.mkdir(parents=True)
    copy_tracked(folder)
    (folder / ".venv").symlink_to(Path(sys.prefix))
    shell(folder, "git init -q -b main && git add -A && git commit -qm project")
    return folder


def shell(folder: Path, text: str) -> str:
    """What a script prints; it must succeed. `make setup` is left out: the environment is there."""
    script = text.replace("make setup\n", "")
    # Installed in that environment is this checkout and not its copy.
    code = {"PYTHONPATH": str(folder / "src")}
    return run(folder, "bash", "-euo", "pipefail", "-c", script, timeout=1800, **code)
