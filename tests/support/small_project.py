"""A project of two light stages with this project's DVC settings, ignore rules and experiment runner."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

from tests.support.checkout import ROOT
from tests.support.shell import run, start, until

PIPELINE = """
stages:
  make:
    cmd: PYTHONPATH=src python -m stages.make
    deps: [stages/__init__.py, stages/make.py, data/raw]
    params: [seed, make.rows, make.size]
    outs: [data/prepared]
  sum:
    cmd: PYTHONPATH=src python -m stages.sum
    deps: [stages/__init__.py, stages/sum.py, data/prepared]
    params: [sum.factor]
    outs: [models/sum.txt]
    metrics:
      - metrics/sum.json: {cache: false}
"""
EXPERIMENTS = 'more-rows: {about: "", set: {make.rows: 6}}\ntwice: {about: "", set: {sum.factor: 2}}\n'
# Rows are files of `size` times a number of three digits.
# A paid reply is a file in the cache of the main checkout; PAID lists the replies that were paid for.
MAKE = """
import os, time
from pathlib import Path
from stages import CACHE
from knowtuning.core.params import read_yaml

params = read_yaml(Path("params.yaml"))
out = Path("data/prepared")
out.mkdir(parents=True)
for row in range(params["make"]["rows"]):
    reply = CACHE / "replies" / f"{params['seed']}-{row}"
    if not reply.exists():
        time.sleep(float(os.environ.get("SLOW", "0")))
        reply.parent.mkdir(parents=True, exist_ok=True)
        with (CACHE / "paid").open("a") as stream:
            stream.write(f"{reply.name}\\n")
        reply.write_text(str(params["seed"] * 100 + row))
    (out / f"{row}.txt").write_text(reply.read_text() * params['make']['size'])
if os.environ.get("FAIL"):
    raise SystemExit("error: told to fail")
"""
SUM = """
import json
from pathlib import Path
from stages import CACHE
from knowtuning.core.params import read_yaml

total = sum(len(path.read_text()) for path in sorted(Path("data/prepared").iterdir()))
total *= read_yaml(Path("params.yaml"))["sum"]["factor"]
Path("models").mkdir(exist_ok=True)
Path("models/sum.txt").write_text(f"{total}\\n")
Path("metrics").mkdir(exist_ok=True)
Path("metrics/sum.json").write_text(json.dumps({"total": total}))
"""


def params(*, seed: int = 1, rows: int = 4, size: int = 50, factor: int = 1) -> str:
    """params.yaml of the small project; the experiment runner reads the aspects."""
    light = f"seed: {seed}\nmake: {{rows: {rows}, size: {size}}}\nsum: {{factor: {factor}}}\n"
    return f"{light}perturb: {{aspects: []}}\n"


def store(folder: Path) -> Path:
    """The default remote as the commands on this project see it."""
    return folder.parent / "home/.local/share/knowtuning/store"


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def new_project(folder: Path) -> Path:
    """The project, committed, with its outputs made and in its cache."""
    for name in (".dvc/config", ".dvc/.gitignore", ".gitignore", ".dvcignore", "stages/__init__.py"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, folder / name)
    for package in ("config", "core"):
        shutil.copytree(ROOT / "src/knowtuning" / package, folder / "src/knowtuning" / package)
    (folder / "src/knowtuning/__init__.py").touch()
    (folder / "experiments").mkdir()
    for script in (ROOT / "experiments").glob("*.py"):
        shutil.copy2(script, folder / "experiments")
    for name, text in (
        ("dvc.yaml", PIPELINE),
        ("params.yaml", params()),
        ("stages/make.py", MAKE),
        ("stages/sum.py", SUM),
        ("experiments/ablations.yaml", EXPERIMENTS),
        ("experiments/sweeps.yaml", "{}\n"),
        ("data/raw/.gitkeep", ""),
        ("models/.gitkeep", ""),
    ):
        write(folder / name, text)
    run(folder, "git", "init", "-q", "-b", "main")
    run(folder, "dvc", "repro", "-q")
    run(folder, "git", "add", "-A")
    run(folder, "git", "commit", "-qm", "The project")
    return folder


def paid(project: Path) -> list[str]:
    """The replies that were paid for, in the cache of the checkout."""
    return (project / ".cache/paid").read_text().split()


def kill_while_running(project: Path, *words: str, replies: int = 1) -> None:
    """Start a command whose stage takes long, and kill it with all its children behind so many replies."""
    before = len(paid(project))
    child = start(project, *words, SLOW="0.5")
    until(lambda: len(paid(project)) >= before + replies or child.poll() is not None, 300)
    assert child.poll() is None
    os.killpg(child.pid, signal.SIGKILL)
    child.communicate()


def new_clone(project: Path, folder: Path) -> Path:
    """A fresh clone: no cache, no local settings."""
    run(project.parent, "git", "clone", "-q", str(project), str(folder))
    return folder
