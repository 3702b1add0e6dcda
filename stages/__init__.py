"""The edge of the program: the only place that reads params.yaml, argv and the environment.

Run a stage by hand from the repository root: `python -m stages.prepare`.
"""

from __future__ import annotations

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


def run(main: Callable[[], None]) -> None:
    """Run a stage; bad input ends in one line on stderr and exit status 1.

    KNOWTUNING_DEBUG=1 shows the traceback instead.
    """
    try:
        main()
    except (ValueError, OSError) as error:
        if os.environ.get("KNOWTUNING_DEBUG"):
            raise
        sys.stderr.write(f"error: {' '.join(str(error).split())}\n")
        raise SystemExit(1) from None
