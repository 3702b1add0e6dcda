"""Two processes that share the work of a stage write what one writes, byte for byte."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.copies import set_params
from knowtuning.core.storage import read_json, write_json
from knowtuning.model.resume import content
from tests.support.checkout import environment
from tests.support.servers import free_port
from tests.support.stage_runs import OUTPUTS, copy_without, finish, kill_both, start_two, units
from tests.support.training import curve

SHARED = ("score", "predict kc")


def same(folder: Path, calm: Path, stage: str) -> None:
    for name in OUTPUTS[stage]:
        assert content(folder / name) == content(calm / name), name
    assert list((folder / ".cache/resume").iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("stage", SHARED)
def test_two_processes_equal_one(calm: Path, tmp_path: Path, stage: str) -> None:
    folder = tmp_path / "two"
    copy_without(calm, folder, stage)
    processes = start_two(folder, stage)
    both_wrote = False
    while any(process.is_alive() for process in processes):
        with contextlib.suppress(FileNotFoundError):  # they remove it when they are done
            sizes = [path.stat().st_size for path in folder.glob(".cache/resume/*/journal-*.jsonl")]
            both_wrote |= len(sizes) == 2 and min(sizes) > 0
    assert [process.exitcode for process in processes] == [0, 0], (folder / "log.txt").read_text()[-2000:]
    assert both_wrote
    same(folder, calm, stage)


@pytest.mark.slow
def test_two_killed_processes_go_on_as_one(calm: Path, tmp_path: Path) -> None:
    folder = tmp_path / "two"
    copy_without(calm, folder, "score")
    kill_both(start_two(folder, "score"), lambda: units(folder) >= 3)
    assert not (folder / "data/knowledge/scored_facts.jsonl").exists()
    finish(folder, "score")
    same(folder, calm, "score")


def without_dropout(calm: Path, folder: Path, stage: str) -> None:
    """A copy without `stage` in which training draws no random numbers: processes draw different ones."""
    copy_without(calm, folder, stage)
    set_params(folder / "params.yaml", {"lora.dropout": 0.0})
    config = folder / "models/ka/adapter_config.json"
    write_json(config, {**read_json(config), "lora_dropout": 0.0})


# In bfloat16, which some CPUs multiply themselves, other sums are rounded to other numbers.
EXACT = {"KNOWTUNING_PRECISION": "float32"}
CURVES = {
    "train_sft": ("loss", "eval_loss", "grad_norm"),
    "train_kc": (
        "loss",
        "eval_loss",
        "rewards/margins",
        "eval_rewards/accuracies",
        "logps/chosen",
        "grad_norm",
    ),
}


@pytest.mark.parametrize("stage", ["train_sft", pytest.param("train_kc", marks=pytest.mark.slow)])
def test_two_processes_train_as_one_and_go_on_after_a_kill(calm: Path, tmp_path: Path, stage: str) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    for folder in (one, two):
        without_dropout(calm, folder, stage)
    finish(one, stage, **EXACT)
    kill_both(start_two(two, stage, **EXACT), lambda: units(two) >= 3)
    assert not (two / OUTPUTS[stage][0]).exists()
    processes = start_two(two, stage, **EXACT)
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0], (two / "log.txt").read_text()[-2000:]
    for name in CURVES[stage]:
        # A gradient is a sum of some 10^4 float32 terms in another order.
        result, expected = (curve(folder / f"plots/{stage}", name) for folder in (two, one))
        assert result == pytest.approx(expected, abs=1e-4, rel=1e-3), name
    steps = [read_json(folder / f"metrics/{stage}.json")["steps"] for folder in (one, two)]
    assert steps[0] == steps[1]
    assert list((two / ".cache/resume").iterdir()) == []


@pytest.mark.slow
def test_torchrun_starts_them_and_base_declines(calm: Path, tmp_path: Path) -> None:
    folder = tmp_path / "two"
    copy_without(calm, folder, "score")
    words = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2"]
    words += ["--master_port", str(free_port())]
    settings = {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1", "KNOWTUNING_PROCESSES": "2"}
    settings |= {"KNOWTUNING_BATCH_TOKENS": "200", "DVC_ROOT": str(folder)}

    def torchrun(stage: str) -> subprocess.CompletedProcess[str]:
        command, variables = [*words, "-m", f"stages.{stage}"], environment(**settings)
        return subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, check=False)

    done = torchrun("score")
    assert done.returncode == 0, done.stderr[-2000:]
    same(folder, calm, "score")
    done = torchrun("base")
    assert done.returncode != 0
    assert "error: base runs in one process, but WORLD_SIZE is 2; start it with" in done.stderr
