"""The edge of the program: the only place that reads params.yaml, argv and the environment.

Run a stage by hand from the repository root: `python -m stages.prepare`.
"""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# A Python that has these has the rest of requirements.txt too.
NEEDED = ("pydantic", "torch")


def _unfit() -> str | None:
    """Why this Python cannot run the stages of this checkout, in one line; looks and imports nothing."""
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        return (
            f"{sys.executable} has no {' and no '.join(missing)}; run `source .venv/bin/activate` and then "
            "the same command again, or `make repro`"
        )
    spec = find_spec("knowtuning")
    if spec is None or not spec.submodule_search_locations:
        return "knowtuning is not installed; run `make setup`, or set PYTHONPATH=src for the same command"
    source = Path(next(iter(spec.submodule_search_locations))).resolve().parent
    if source != ROOT / "src":
        # Such as in the copies that `dvc exp run --temp` makes of a checkout that is installed.
        return (
            f"knowtuning is imported from {source}, but these stages need that of {ROOT / 'src'}; set "
            "PYTHONPATH=src for the same command"
        )
    return None


# Before a stage imports anything: `dvc repro` without the environment runs the `python` of the machine.
if _problem := _unfit():
    sys.stderr.write(f"error: {_problem}\n")
    raise SystemExit(1)

PARAMS = Path("params.yaml")
# Outlives the stages. DVC_ROOT is the main checkout also in the copies of queued experiments.
CACHE = Path(os.environ.get("DVC_ROOT") or ROOT) / ".cache"

DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
DISK_SIGNS = ("No space left on device", "Disk quota exceeded", "File too large", "inline_container.cc")
MEMORY_SIGNS = ("out of memory", "can't allocate memory", "not enough memory")
MADE = [("data",), ("metrics",), ("models",), ("plots",)]  # the folders of what stages make
KEPT = "with the same settings it goes on where it was"


def run(main: Callable[[], None]) -> None:
    """Run a stage; what a user can mend ends in one line (KNOWTUNING_DEBUG=1: traceback) and status 1."""
    for stream in (sys.stdout, sys.stderr):
        # What a terminal cannot show must not end a stage that is finished.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        main()
    except Exception as error:
        message = explain(error)
        if message is None or os.environ.get("KNOWTUNING_DEBUG"):
            raise
        sys.stderr.write(f"error: {message}\n")
        raise SystemExit(1) from None


def named(table: Mapping[str, object], what: str) -> str:
    """The argument of the command line, a name of the table. Raises ValueError for another one."""
    from knowtuning.core.tables import entry

    name = sys.argv[1] if len(sys.argv) == 2 else ""
    entry(table, name, what)
    return name


def explain(error: Exception) -> str | None:
    """One line about bad input, a file that no stage has made, a full disk or too little memory; None for a
    fault of the program.

    torch and safetensors raise errors of their own for the last two, told apart by their text alone.
    """
    text = " ".join(str(error).split())
    if getattr(error, "errno", None) in DISK_FULL or any(sign in text for sign in DISK_SIGNS):
        return f"a file could not be written ({text[:160]}); free disk space and run again: {KEPT}"
    if isinstance(error, MemoryError) or any(sign in text for sign in MEMORY_SIGNS):
        return (
            f"out of memory ({text[:160]}); free memory, or lower KNOWTUNING_MICRO_BATCH in training and "
            f"KNOWTUNING_BATCH_TOKENS in prediction, and run again: {KEPT}"
        )
    if isinstance(error, FileNotFoundError) and Path(str(error.filename)).parts[:1] in MADE:
        return f"{error.filename}: not found; run `dvc repro`, or `dvc pull`"
    return text if isinstance(error, ValueError | OSError) else None
