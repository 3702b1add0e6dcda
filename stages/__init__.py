"""The edge of the program: the only place that reads params.yaml, argv and the environment.

Run a stage by hand from the repository root: `python -m stages.prepare`.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# The library next to this file, also in the copies that `dvc exp run --temp` makes.
sys.path.insert(0, str(ROOT / "src"))

PARAMS = Path("params.yaml")
# Outlives the stages. DVC_ROOT is the main checkout also in the copies of queued experiments.
CACHE = Path(os.environ.get("DVC_ROOT") or ROOT) / ".cache"

DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
DISK_SIGNS = ("No space left on device", "Disk quota exceeded", "File too large", "inline_container.cc")
MEMORY_SIGNS = ("out of memory", "can't allocate memory", "not enough memory")
KEPT = "with the same settings it goes on where it was"


def run(main: Callable[[], None]) -> None:
    """Run a stage; what a user can mend ends in one line on stderr and exit status 1.

    KNOWTUNING_DEBUG=1 shows the traceback instead.
    """
    try:
        main()
    except Exception as error:
        message = explain(error)
        if message is None or os.environ.get("KNOWTUNING_DEBUG"):
            raise
        sys.stderr.write(f"error: {message}\n")
        raise SystemExit(1) from None


def explain(error: Exception) -> str | None:
    """One line about bad input, a full disk or too little memory; None for a fault of the program.

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
    return text if isinstance(error, ValueError | OSError) else None
