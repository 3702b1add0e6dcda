"""Two processes that share the work of a stage write what one writes, byte for byte."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from imports import ROOT
from stage_runs import OUTPUTS, calm_project, copy_without, finish, start_two, units

from knowtuning.resume import content

SHARED = ("score", "predict kc")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return calm_project(tmp_path_factory.getbasetemp())


def free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return int(server.getsockname()[1])


def same(folder: Path, project: Path, stage: str) -> None:
    for name in OUTPUTS[stage]:
        assert content(folder / name) == content(project / name), name
    assert list((folder / ".cache/resume").iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("stage", SHARED)
def test_two_processes_equal_one(project: Path, tmp_path: Path, stage: str) -> None:
    folder = tmp_path / "two"
    copy_without(project, folder, stage)
    processes = start_two(folder, stage, free_port())
    both_wrote = False
    while any(process.is_alive() for process in processes):
        with contextlib.suppress(FileNotFoundError):  # they remove it when they are done
            sizes = [path.stat().st_size for path in folder.glob(".cache/resume/*/journal-*.jsonl")]
            both_wrote |= len(sizes) == 2 and min(sizes) > 0
    assert [process.exitcode for process in processes] == [0, 0], (folder / "log.txt").read_text()[-2000:]
    assert both_wrote
    same(folder, project, stage)


@pytest.mark.slow
def test_two_killed_processes_go_on_as_one(project: Path, tmp_path: Path) -> None:
    folder = tmp_path / "two"
    copy_without(project, folder, "score")
    processes = start_two(folder, "score", free_port())
    while units(folder) < 3 and any(process.is_alive() for process in processes):
        pass
    for process in processes:
        process.kill()
        process.join()
    assert not (folder / "data/knowledge/scored.jsonl").exists()
    finish(folder, "score")
    same(folder, project, "score")


@pytest.mark.slow
def test_torchrun_starts_them_and_training_declines(project: Path, tmp_path: Path) -> None:
    folder = tmp_path / "two"
    copy_without(project, folder, "score")
    shutil.copytree(ROOT / "stages", folder / "stages")
    shutil.copytree(ROOT / "src", folder / "src")
    words = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2"]
    words += ["--master_port", str(free_port())]
    environment = {
        **os.environ,
        "ACCELERATE_USE_CPU": "true",
        "OMP_NUM_THREADS": "1",
        "KNOWTUNING_PROCESSES": "2",
        "DVC_ROOT": str(folder),
    }
    done = subprocess.run([*words, "-m", "stages.score"], cwd=folder, env=environment, capture_output=True)
    assert done.returncode == 0, done.stderr[-2000:]
    same(folder, project, "score")
    done = subprocess.run(
        [*words, "-m", "stages.train_sft"], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode != 0
    assert "error: train_sft runs in one process, but WORLD_SIZE is 2; start it with" in done.stderr
