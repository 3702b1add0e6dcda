"""The GPU benchmark on a tiny model on the CPU: every task has its row, and one that fails ends no other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from knowtuning.core.storage import read_json
from tests.support.checkout import ROOT
from tests.support.forks import run_module


def run(out: Path, *words: str, **variables: str) -> str:
    """Run the benchmark at the tiny shape; what it printed."""
    tiny = ("--shape", "tiny", "--device", "cpu", "--precision", "float32", "--out", str(out))
    done = run_module(ROOT, "benchmarks.gpu", *tiny, *words, **{"OMP_NUM_THREADS": "1", **variables})
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def results_of(out: Path, *words: str, **variables: str) -> dict[str, Any]:
    """What it wrote; the table has a row for each."""
    printed = run(out, *words, **variables)
    results: dict[str, Any] = read_json(out)["tiny"]
    assert printed.count("\n| ") == 1 + len(results["rows"])
    return results


@pytest.mark.slow
def test_every_task_has_a_row(tmp_path: Path) -> None:
    results = results_of(tmp_path / "gpu.json")
    # Embeddings and head of 400 x 64; a layer of 2 has 4 matrices of 64 x 64, 3 of 64 x 128 and 2 norms of
    # 64; one more norm.
    assert results["parameters"] == 2 * 400 * 64 + 2 * (4 * 64**2 + 3 * 64 * 128 + 2 * 64) + 64
    rows = {(row["task"], row["side"]): row for row in results["rows"]}
    assert list(rows) == [
        *[("sft", "ours"), ("sft", "TRL"), ("dpo", "ours"), ("dpo", "TRL"), ("score", "ours")],
        *[("generate", "ours"), ("sft", "TRL at its best"), ("dpo", "TRL at its best")],
    ]
    for row in rows.values():
        assert row["tokens_per_second"] > 0
    for task in ("sft", "dpo"):  # the same rows on all sides
        assert len({row["tokens"] for key, row in rows.items() if key[0] == task}) == 1
    # 8 answers of 16 tokens.
    assert rows["generate", "ours"]["tokens"] == 8 * 16
    assert rows["sft", "TRL"]["checkpointing"]
    assert not rows["sft", "TRL at its best"]["checkpointing"]


@pytest.mark.slow
def test_a_row_that_fails_ends_no_other(tmp_path: Path) -> None:
    words = ("--tasks", "sft", "--sides", "ours", "TRL")
    ours, peer = results_of(tmp_path / "gpu.json", *words, KNOWTUNING_MICRO_BATCH="3")["rows"]
    assert ours["error"].startswith(
        "ValueError: KNOWTUNING_MICRO_BATCH is 3; expected a divisor of the 8 rows"
    )
    assert peer["tokens_per_second"] > 0


@pytest.mark.slow
def test_a_profile_is_a_table_of_our_side(tmp_path: Path) -> None:
    out = tmp_path / "gpu.json"
    run(out, "--profile", "score")
    assert "aten::mm" in (tmp_path / "gpu-tiny-score.txt").read_text()
    assert not out.exists()
