"""Checkpoints from which the Trainer goes on as if nothing had happened.

The Trainer's own lack a sign that they are whole, and leave out what has been summed up since the last log:
so each is sealed, and made only at steps that log.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from knowtuning.core.storage import read_json
from knowtuning.model.hardware import ALONE, Processes
from knowtuning.model.resume import Due, checkpoints, seal


class Checkpoints(TrainerCallback):
    """Saves at steps that evaluate and, `seconds` apart, at steps that log; keeps the last and the best."""

    def __init__(self, folder: Path, seconds: float, processes: Processes = ALONE) -> None:
        self.folder, self.processes = folder, processes
        self.due = Due(seconds)

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.due = Due(self.due.seconds)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        control.should_log = control.should_log or control.should_save
        if control.should_log and self.processes.agreed(self.due()):  # their clocks differ
            control.should_save = True

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.processes.wait()  # each has written its random state
        if not self.processes.first:
            return
        with self.due.saving():
            path = self.folder / f"checkpoint-{state.global_step}"
            seal(path)
            kept = {path.name, f"checkpoint-{state.best_global_step}"}
            for old in self.folder.glob("checkpoint-*"):
                if old.name not in kept:
                    shutil.rmtree(old)


def newest(folder: Path) -> Path | None:
    """The newest checkpoint of `folder` that is whole and whose best checkpoint is too."""
    whole = checkpoints(folder)
    names = {path.name for path in whole}
    for path in reversed(whole):
        best = read_json(path / "trainer_state.json")["best_global_step"]
        if best is None or f"checkpoint-{best}" in names:
            return path
    return None


def train(trainer: Any, folder: Path, seconds: float, processes: Processes = ALONE) -> None:
    """Run `trainer`, whose output folder is `folder`, from its newest checkpoint or from the start."""
    trainer.add_callback(Checkpoints(folder, seconds, processes))
    checkpoint = processes.agreed(newest(folder) if processes.first else None)
    trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
