"""Stages killed at random moments, and stages whose disk is full: run again, they end in the same bytes."""

from __future__ import annotations

import os
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from knowtuning.core.storage import read_json
from knowtuning.model.resume import content
from stages import explain
from tests.support.stage_runs import OUTPUTS, copy_without, finish, kill_when, start, units


def work_of(calm: Path, tmp_path: Path, stage: str) -> int:
    """How many units of work a whole run of `stage` has: steps, or lines of its journal."""
    if stage.startswith("train_") or stage == "base":
        metrics = calm / OUTPUTS[stage][-1]
        return int(read_json(metrics)["steps"])
    copy_without(calm, tmp_path / "count", stage)
    most = 0
    process = start(tmp_path / "count", stage)
    while process.is_alive():
        most = max(most, units(tmp_path / "count"))
    return most


@pytest.mark.parametrize("kills", [1, pytest.param(10, marks=pytest.mark.slow)])
# train_ka is train_sft with more rows.
@pytest.mark.parametrize("stage", [stage for stage in OUTPUTS if stage != "train_ka"])
def test_killed_at_random_moments_it_ends_in_the_same_bytes(
    calm: Path, tmp_path: Path, stage: str, kills: int
) -> None:
    """Each kill comes when a random share of the work is done, up to 30 ms later: in a step or in a save."""
    draw = random.Random(f"{stage} {kills}")
    folder = tmp_path / "rough"
    copy_without(calm, folder, stage)
    total = work_of(calm, tmp_path, stage)
    moments = sorted(draw.randrange(total - 1) for _ in range(kills))
    done = 0
    for moment in moments:
        process = start(folder, stage)
        done += kill_when(process, lambda moment=moment: units(folder) > moment, draw.random() * 0.03)
    # A run that was quicker than its kill has nothing left to resume, and the next one starts anew.
    assert done >= kills * 0.7
    finish(folder, stage)
    for name in OUTPUTS[stage]:
        assert content(folder / name) == content(calm / name), name
    assert list((folder / ".cache/resume").iterdir()) == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 100 kB."""
    path = tmp_path / "disk"
    path.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=100k", "tmpfs", str(path)]
    if os.geteuid() != 0 or subprocess.run(words, capture_output=True).returncode != 0:
        pytest.skip("no file system can be mounted here")
    yield path
    subprocess.run(["umount", str(path)], check=True)


@pytest.mark.parametrize("stage", ["base", "train_sft"])
def test_a_full_disk_is_one_line_and_the_run_goes_on_later(
    calm: Path, tmp_path: Path, small_disk: Path, stage: str
) -> None:
    folder = tmp_path / "rough"
    copy_without(calm, folder, stage)
    process = start(folder, stage, DVC_ROOT=str(small_disk))
    process.join()
    assert process.exitcode == 1
    last = (folder / "log.txt").read_text().splitlines()[-1]
    assert "error: a file could not be written (" in last  # behind the progress bar
    assert last.endswith("free disk space and run again: with the same settings it goes on where it was")
    subprocess.run(["mount", "-o", "remount,size=50m", str(small_disk)], check=True)
    finish(folder, stage, DVC_ROOT=str(small_disk))
    for name in OUTPUTS[stage]:
        assert content(folder / name) == content(calm / name), name


def test_too_little_memory_is_one_line() -> None:
    import torch

    with pytest.raises(RuntimeError) as caught:
        torch.empty(10**16)
    for error in (caught.value, torch.OutOfMemoryError("CUDA out of memory. Tried"), MemoryError()):
        result = explain(error)
        assert result is not None
        assert result.startswith("out of memory (")
        assert result.endswith("run again: with the same settings it goes on where it was")
    assert explain(RuntimeError("a fault of the program")) is None
    assert explain(ValueError("bad\n input")) == "bad input"
