"""Programs in processes forked from one in which their libraries are imported: they start in no time.

Each has a folder, arguments, an environment, streams and an exit status as one that a shell starts, and no
module of this project before it runs. Tests of how a Python starts use `checkout.run_python`. They share one
seed of hashes: tests/test_pipeline.py compares runs of processes that each have their own.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from multiprocessing.process import BaseProcess
from pathlib import Path

from tests.support import checkout
from tests.support.checkout import ROOT

# Imported once a worker, with the first program; their caches are those of the HOME that the tests have.
LIBRARIES = (
    *("peft", "trl.trainer.sft_trainer", "trl.trainer.dpo_trainer", "transformers.models.llama", "dvclive"),
    *("sklearn.linear_model", "nltk", "openai", "pydantic", "dvc.cli.parser", "dvc.repo"),
)
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(list(LIBRARIES))


def _program(folder: Path, words: list[str], environment: dict[str, str], streams: tuple[Path, Path]) -> None:
    """What the process does: `dvc ...`, or `python -m ...`, in `folder`."""
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    for number, path in enumerate(streams, 1):
        stream = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(stream, number)
        os.close(stream)
    if encoding := environment.get("PYTHONIOENCODING"):
        sys.stdout.reconfigure(encoding=encoding)
    named = [path for path in environment.get("PYTHONPATH", "").split(os.pathsep) if path]
    libraries = [path for path in sys.path if Path(path) not in (ROOT, ROOT / "src")]
    sys.path[:] = [str(folder), *named, *libraries]
    sys.argv = list(words)
    if words[0] == "dvc":
        from dvc.cli import main

        sys.exit(main(words[1:]))
    runpy.run_module(words[0], run_name="__main__", alter_sys=True)


def start(
    folder: Path, words: list[str], environment: Mapping[str, str], streams: tuple[Path, Path]
) -> BaseProcess:
    """Start `dvc` or a module, its arguments behind its name; its streams go to the ends of two files."""
    process = CONTEXT.Process(target=_program, args=(folder, words, dict(environment), streams))
    process.start()
    return process


def run(
    folder: Path,
    words: list[str],
    environment: Mapping[str, str],
    *,
    merged: bool = False,
    timeout: float = 300,
) -> subprocess.CompletedProcess[str]:
    """The end of such a program. merged: stderr is in stdout. Raises TimeoutExpired after so many seconds."""
    with tempfile.TemporaryDirectory() as temporary:
        out = Path(temporary, "stdout")
        error = out if merged else Path(temporary, "stderr")
        process = start(folder, words, environment, (out, error))
        process.join(timeout)
        if process.exitcode is None:
            process.kill()
            raise subprocess.TimeoutExpired(words, timeout)
        output = out.read_text(encoding="utf-8")
        complaint = None if merged else error.read_text(encoding="utf-8")
        return subprocess.CompletedProcess(words, process.exitcode, output, complaint)


def run_module(folder: Path, *words: str, **extra: str) -> subprocess.CompletedProcess[str]:
    """What `python -m` says in `folder`, with the code of this checkout."""
    return run(folder, list(words), checkout.environment(**extra))


def run_stage(folder: Path, stage: str, *words: str, **extra: str) -> subprocess.CompletedProcess[str]:
    """A stage as a user runs it in `folder`, which holds its cache too."""
    return run_module(folder, f"stages.{stage}", *words, **{"DVC_ROOT": str(folder), **extra})
