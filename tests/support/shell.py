"""Commands as a user types them in a project, with no settings of the machine."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.support import forks


def environment(**extra: str) -> dict[str, str]:
    """The environment of a command: this interpreter's programs first, no settings of the machine."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    identity = {
        f"GIT_{who}_{what}": value
        for who in ("AUTHOR", "COMMITTER")
        for what, value in (("NAME", "test"), ("EMAIL", "test@example.org"))
    }
    nothing = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    return {**os.environ, **identity, **nothing, "PATH": path, **extra}


def beside(folder: Path) -> dict[str, str]:
    """A home folder and DVC's own files beside a project: nothing outside the test is read or left."""
    return {"HOME": str(folder.parent / "home"), "DVC_SITE_CACHE_DIR": str(folder.parent / "site-cache")}


def until(done: Callable[[], object], seconds: float = 60) -> None:
    """Wait for a condition."""
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline, f"it did not happen within {seconds} seconds"
        time.sleep(0.005)


def start(folder: Path, *words: str, **extra: str) -> subprocess.Popen[str]:
    """Start a command in a session of its own, so that it can be killed with its children."""
    return subprocess.Popen(
        words,
        cwd=folder,
        env=environment(**beside(folder), **extra),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def run(folder: Path, *words: str, status: int = 0, timeout: float = 300, **extra: str) -> str:
    """stdout and stderr of a command that must end with `status`; `dvc` is forked, to start in no time."""
    variables = environment(**beside(folder), **extra)
    if words[0] == "dvc":
        done = forks.run(folder, list(words), variables, merged=True, timeout=timeout)
    else:
        done = subprocess.run(
            words,
            cwd=folder,
            env=variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout,
            check=False,
        )
    assert done.returncode == status, f"{' '.join(words)}: status {done.returncode}\n{done.stdout}"
    return done.stdout
