"""Checkpoints from which the Trainer goes on as if nothing had happened.

The Trainer's own lack three things: the losses and metrics added up since the last log, the random state at
the start of the epoch (which orders its batches), and a sign that they are whole.
"""

from __future__ import annotations

import shutil
from collections import defaultdict
from pathlib import Path
from typing import Any, TypeVar

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from knowtuning.core.storage import read_json
from knowtuning.runtime.machine import ALONE, Processes
from knowtuning.runtime.resume import Due, checkpoints, seal

PROGRESS = "progress.pt"
T = TypeVar("T")


class Checkpoints(TrainerCallback):
    """Completes and seals each checkpoint, keeps the last and the best, and restores what it added.

    It saves at the steps that evaluate and, between them, every `seconds`. Of several processes the first
    looks after the folder; the order of their batches depends on no random state.
    """

    def __init__(self, folder: Path, seconds: float, processes: Processes = ALONE) -> None:
        self.folder = folder
        self.processes = processes
        self.due = Due(seconds)
        self.trainer: Any = None
        self.restored: dict[str, Any] | None = None
        self.epoch_rng: Any = None

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        self.due = Due(self.due.seconds)
        if state.best_global_step:  # the folder may have moved since
            state.best_model_checkpoint = str(self.folder / f"checkpoint-{state.best_global_step}")
        if self.restored is not None:
            self._restore_sums(self.restored)

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        import torch

        if self.restored is not None and self.processes.count == 1:
            # Inside an epoch the batches are drawn once more, in the order they had.
            inside = (state.epoch or 0.0) % 1 > 0
            torch.set_rng_state(self.restored["epoch_rng" if inside else "rng"].cpu())
        self.restored = None
        self.epoch_rng = torch.get_rng_state()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        if told(self.processes, self.due()):  # their clocks differ
            control.should_save = True

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        import torch

        self.processes.wait()  # each has written its random state
        if not self.processes.first:
            return
        with self.due.saving():
            path = self.folder / f"checkpoint-{state.global_step}"
            torch.save(self._progress(), path / PROGRESS)
            seal(path)
            kept = {path.name, f"checkpoint-{state.best_global_step}"}
            for old in self.folder.glob("checkpoint-*"):
                if old.name not in kept:
                    shutil.rmtree(old)

    def _progress(self) -> dict[str, Any]:
        import torch

        trainer = self.trainer
        return {
            "loss": float(trainer._tr_loss),
            "total_loss": float(trainer._total_loss_scalar),
            "last_logged": int(trainer._globalstep_last_logged),
            "metrics": {name: list(values) for name, values in trainer._metrics["train"].items()},
            "epoch_rng": self.epoch_rng,
            "rng": torch.get_rng_state(),
        }

    def _restore_sums(self, saved: dict[str, Any]) -> None:
        import torch

        trainer = self.trainer
        trainer._tr_loss = torch.tensor(saved["loss"], device=trainer.args.device)
        trainer._total_loss_scalar = saved["total_loss"]
        trainer._globalstep_last_logged = saved["last_logged"]
        trainer._metrics["train"] = defaultdict(list, saved["metrics"])


def told(processes: Processes, value: T) -> T:
    """What the first process has as `value`."""
    if processes.count == 1:
        return value
    from accelerate.utils import broadcast_object_list

    return broadcast_object_list([value])[0]  # type: ignore[no-any-return]


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
    import torch

    saver = Checkpoints(folder, seconds, processes)
    saver.trainer = trainer
    trainer.add_callback(saver)
    found = told(processes, newest(folder) if processes.first else None)
    if found is None:
        trainer.train()
        return
    state = TrainerState.load_from_json(str(found / "trainer_state.json"))
    if state.global_step >= state.max_steps:
        _finish(trainer, state, folder)
        return
    saver.restored = torch.load(found / PROGRESS, map_location="cpu", weights_only=True)
    trainer.train(resume_from_checkpoint=str(found))


def _finish(trainer: Any, state: TrainerState, folder: Path) -> None:
    """What is left to do after the last step: the Trainer itself would take another one."""
    trainer.state = state
    state.best_model_checkpoint = str(folder / f"checkpoint-{state.best_global_step}")
    trainer.callback_handler.on_train_begin(trainer.args, state, trainer.control)
    trainer._load_best_model()
    trainer.callback_handler.on_train_end(trainer.args, state, trainer.control)
