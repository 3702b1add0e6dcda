"""Beside the optimisation: progress bar, loss curves, checkpoints, and a stop on a loss that is no number."""

from __future__ import annotations

import math
import shutil
import time
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from knowtuning.core.storage import read_json
from knowtuning.model.hardware import Processes
from knowtuning.model.resume import Due, checkpoints, seal

# Curves that depend on the data alone. Speed and time stay out: equal runs write equal bytes.
_PAIRS = ("margins", "accuracies", "chosen", "rejected")
_LOGPS = ("chosen", "rejected")
CURVES = (
    *("loss", "eval_loss", "learning_rate", "grad_norm"),
    *(f"{part}rewards/{name}" for part in ("", "eval_") for name in _PAIRS),
    *(f"{part}{kind}/{name}" for part in ("", "eval_") for kind in ("logps", "tokens") for name in _LOGPS),
)
Logs = dict[str, float] | None


class StopOnNaN(TrainerCallback):
    """Ends training with one line when the loss is not a number."""

    def __init__(self, section: str) -> None:
        self.section = section

    def on_log(self, args: Any, state: Any, control: Any, logs: Logs = None, **_: Any) -> None:
        for name in ("loss", "eval_loss"):
            value = float((logs or {}).get(name, 0.0))
            if not math.isfinite(value):
                raise ValueError(
                    f"{self.section}: {name} is {value} at step {state.global_step}; expected a number; "
                    f"lower {self.section}.lr or {self.section}.max_grad_norm, or look for broken rows"
                )


class ProgressBar(TrainerCallback):
    """A progress bar over steps with the loss and the speed (tokens of the batches per second)."""

    def __init__(self, title: str, tokens: int) -> None:
        self.title, self.tokens = title, tokens
        self.bar: Any = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        from tqdm import tqdm

        self.bar = tqdm(desc=self.title, total=state.max_steps, unit="step", initial=state.global_step)
        self.start, self.first = time.monotonic(), state.global_step

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.bar.update(state.global_step - self.bar.n)

    def on_log(self, args: Any, state: Any, control: Any, logs: Logs = None, **_: Any) -> None:
        if logs and "loss" in logs:
            tokens = self.tokens * (state.global_step - self.first) / state.max_steps
            speed = tokens / max(1e-9, time.monotonic() - self.start)
            self.bar.set_postfix_str(f"loss {float(logs['loss']):.3f}, {speed:,.0f} tokens/s")

    def close(self) -> None:
        """Leave the bar as it is; what is printed next stands below it."""
        if self.bar is not None:
            self.bar.close()


class Curves(TrainerCallback):
    """Loss curves by DVCLive: one .tsv a curve under <folder>/plots/metrics/."""

    def __init__(self, folder: Path) -> None:
        from dvclive.live import Live

        self.live = Live(str(folder), dvcyaml=False, save_dvc_exp=False, report=None, monitor_system=False)

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        # A resumed run writes its first part again, so that its curves are those of an undisturbed one.
        for entry in state.log_history:
            self._write(int(entry["step"]), entry)

    def on_log(self, args: Any, state: Any, control: Any, logs: Logs = None, **_: Any) -> None:
        self._write(state.global_step, logs or {})

    def _write(self, step: int, logs: dict[str, float]) -> None:
        self.live.step = step
        for name in CURVES:
            if name in logs:
                self.live.log_metric(name, round(float(logs[name]), 6))

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.live.end()  # type: ignore[no-untyped-call]


class Checkpoints(TrainerCallback):
    """Saves at steps that evaluate and, `seconds` apart, at steps that log; keeps the last and the best.

    From these the Trainer goes on as if nothing had happened. Its own lack a sign that they are whole, so
    each is sealed, and leave out what has been summed up since the last log, so that only steps that log
    save.
    """

    def __init__(self, folder: Path, seconds: float, processes: Processes) -> None:
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
