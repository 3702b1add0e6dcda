"""Stages of a very small project, each in a process of its own that may be killed."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

from knowtuning.systems import ON_REQUEST
from tests.support import checkout, forks
from tests.support.checkout import ROOT
from tests.support.params import write_params
from tests.support.servers import free_port

SMALL = {
    "prepare.world.towns.train": 10,
    "prepare.world.towns.valid": 3,
    "prepare.world.towns.test": 4,
    "prepare.world.towns.guide": 6,
    "prepare.world.train_general": 12,
    "prepare.world.train_specific": 16,
    "base.scratch.vocab": 400,
    "base.scratch.hidden": 32,
    "base.scratch.layers": 2,
    "base.scratch.heads": 2,
    "base.scratch.max_steps": 30,
    # 21 steps each: KA has every row and its rewrite.
    "train_sft.batch": 4,
    "train_sft.epochs": 3,
    "train_ka.batch": 4,
    "train_ka.epochs": 1.5,
    "lora.dropout": 0.1,
    "train_kc.batch": 4,
    "train_kc.epochs": 1,
    "predict.max_new_tokens": 8,
    "sample.samples": 3,
    "sample.max_new_tokens": 8,
    **{f"train_{name}.{key}": value for name in ON_REQUEST for key, value in (("batch", 4), ("epochs", 1))},
}
CHAIN = ["prepare", "base", "train_sft", "extract", "score", "rewrite", "perturb", "train_ka", "train_kc"]
OUTPUTS = {
    "base": ["models/base", "metrics/base.json"],
    "score": [
        "data/knowledge/scored_facts.jsonl",
        "data/knowledge/scored_facts.rejected.jsonl",
        "metrics/score.json",
    ],
    **{
        f"train_{name}": [
            f"models/{name}",
            f"data/training/train_{name}.rejected.jsonl",
            f"plots/train_{name}",
            f"metrics/train_{name}.json",
        ]
        for name in ("sft", "ka", "kc")
    },
    "predict kc": ["data/predictions/kc.jsonl"],
    "sample sft": ["data/samples/sft.jsonl"],
}


def start(folder: Path, stage: str, **environment: str) -> BaseProcess:
    """Start a stage by its name in dvc.yaml; its state lies under <folder>/.cache unless DVC_ROOT differs."""
    # One script trains every system.
    words = stage.replace("train_", "train ").split()
    defaults = {"DVC_ROOT": str(folder), "TQDM_DISABLE": "1", "OMP_NUM_THREADS": "1"}
    # Eight answers a batch and a few questions, so that there are several batches; a save at every step.
    defaults |= {"KNOWTUNING_BATCH_TOKENS": "200", "KNOWTUNING_SAVE_SECONDS": "0"}
    words[0] = f"stages.{words[0]}"
    log = folder / "log.txt"
    return forks.start(folder, words, checkout.environment(**{**defaults, **environment}), (log, log))


def finish(folder: Path, stage: str, **environment: str) -> None:
    """Run a stage to its end."""
    process = start(folder, stage, **environment)
    process.join()
    assert process.exitcode == 0, (folder / "log.txt").read_text()[-2000:]


def two(**environment: str) -> list[dict[str, str]]:
    """The environments that torchrun gives two processes."""
    common = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "ACCELERATE_USE_CPU": "true", **environment}
    common |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    return [{**common, "RANK": rank, "LOCAL_RANK": rank} for rank in ("0", "1")]


def start_two(folder: Path, stage: str, **environment: str) -> list[BaseProcess]:
    """Start two processes of a stage as torchrun does."""
    return [start(folder, stage, **one) for one in two(**environment)]


def new_project(folder: Path) -> None:
    """A folder with small parameters, in which all stages have run undisturbed."""
    (folder / "data/raw").mkdir(parents=True)
    write_params(folder, SMALL)
    shutil.copytree(ROOT / "prompts", folder / "prompts")
    for stage in [*CHAIN, "predict kc", "sample sft"]:
        finish(folder, stage, KNOWTUNING_SAVE_SECONDS="1000")


def copy_without(project: Path, target: Path, stage: str) -> None:
    """A copy of the project in which `stage` has not run."""
    shutil.copytree(project, target)
    for name in OUTPUTS[stage]:
        path = target / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def units(folder: Path) -> int:
    """How much the state under `folder` holds: the newest step, or the lines of the journal."""
    counts = [0]
    # The stage works in there: files and the folder itself may go while we look.
    with contextlib.suppress(FileNotFoundError):
        for path in folder.glob(".cache/resume/*/*"):
            step = path.name.removeprefix("checkpoint-")
            if step.isdecimal():
                counts.append(int(step))
            elif path.suffix == ".jsonl":
                counts.append(path.read_bytes().count(b"\n"))
    return max(counts)


def kill_both(processes: list[BaseProcess], ready: Callable[[], bool]) -> None:
    """SIGKILL as soon as `ready()`, or do nothing when they end before."""
    while not ready() and any(process.is_alive() for process in processes):
        time.sleep(0.002)
    for process in processes:
        process.kill()
        process.join()


def kill_when(process: BaseProcess, ready: Callable[[], bool], delay: float) -> bool:
    """SIGKILL `delay` seconds after `ready()`; False when the process ended before."""
    while process.is_alive() and not ready():
        time.sleep(0.001)
    time.sleep(delay)
    process.kill()
    process.join()
    return process.exitcode == -9
