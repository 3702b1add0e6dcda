"""This checkout: where it lies, and its programs as processes that start in another folder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROMPTS = ROOT / "prompts"
# Real data, where a workplace has them beside its checkout.
SHARED = ROOT.parent / "shared/data"
# For the environment of a process: the code of this checkout, whichever is installed.
CODE = {"PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])}


def environment(**extra: str) -> dict[str, str]:
    """The environment of a process: the code of this checkout, and no key of the machine."""
    return {name: value for name, value in os.environ.items() if name != "OPENAI_API_KEY"} | CODE | extra


def run_python(folder: Path, *words: str, **extra: str) -> subprocess.CompletedProcess[str]:
    """What this interpreter says in `folder`, with the code of this checkout."""
    command, variables = [sys.executable, *words], environment(**extra)
    return subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, check=False)
