"""The GPU benchmark on a tiny model on the CPU: every stage runs and has its row."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.slow
def test_every_stage_has_a_row() -> None:
    words = [sys.executable, str(ROOT / "benchmarks/gpu.py"), "--shape", "tiny", "--device", "cpu"]
    words += ["--precision", "float32", "--rows", "8", "--length", "96"]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    rows = [line.split("|")[1].strip() for line in done.stdout.splitlines() if line.startswith("| ")]
    assert rows == [
        *("stage", "train_ka", "train_ka, TRL", "train_kc", "train_kc, TRL", "score", "predict"),
    ]
