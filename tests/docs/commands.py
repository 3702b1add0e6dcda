"""The shell commands of the documentation, and a copy of the project to type them in."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from benchmarks.stages import copy_tracked

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(page: Path) -> list[str]:
    """The ```sh blocks of a page."""
    return re.findall(r"^```sh\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def commands(page: Path) -> list[str]:
    """The single commands of a page; a command that goes on over lines, or feeds a file, is one."""
    found: list[str] = []
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
                found.append(command)
    return found


def project_copy(folder: Path) -> Path:
    """The tracked files, committed, with this environment in the place of .venv."""
    folder.mkdir(parents=True)
    copy_tracked(folder)
    (folder / ".venv").symlink_to(Path(sys.prefix))
    shell(folder, "git init -q -b main && git add -A && git commit -qm project")
    return folder


def shell(folder: Path, text: str, **extra: str) -> str:
    """What a script prints; it must succeed. `make setup` is left out: the environment is there."""
    who = {f"GIT_{w}_{k}": v for w in ("AUTHOR", "COMMITTER") for k, v in (("NAME", "t"), ("EMAIL", "t@t"))}
    environment = {
        **os.environ,
        **who,
        "HOME": str(folder.parent / "home"),
        "DVC_SITE_CACHE_DIR": str(folder.parent / "site-cache"),
        "GIT_CONFIG_GLOBAL": os.devnull,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        **extra,
    }
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", text.replace("make setup\n", "")],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{text}\n{done.stdout[-3000:]}"
    return done.stdout
