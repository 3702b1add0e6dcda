"""Beside the optimisation: a progress bar, loss curves, and a stop on a loss that is no number."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

# Curves that depend on the data alone. Speed and time stay out: equal runs write equal bytes.
CURVES = (
    "loss",
    "eval_loss",
    "learning_rate",
    "grad_norm",
    "rewards/margins",
    "rewards/accuracies",
    "rewards/chosen",
    "rewards/rejected",
    "eval_rewards/margins",
    "eval_rewards/accuracies",
)


class StopOnNaN(TrainerCallback):
    """Ends training with one line when the loss is not a number."""

    def __init__(self, section: str) -> None:
        self.section = section

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **_: Any,
    ) -> None:
        for name in ("loss", "eval_loss"):
            value = float((logs or {}).get(name, 0.0))
            if not math.isfinite(value):
                raise ValueError(
                    f"{self.section}: {name} is {value} at step {state.global_step}; expected a number; "
                    f"lower {self.section}.lr or {self.section}.max_grad_norm, or look for broken rows"
                )


class Progress(TrainerCallback):
    """A progress bar over steps with the loss and the speed (tokens of the batches per second)."""

    def __init__(self, title: str, tokens_per_epoch: int) -> None:
        self.title = title
        self.tokens_per_epoch = tokens_per_epoch

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        from tqdm import tqdm

        self.bar = tqdm(desc=self.title, total=state.max_steps, unit="step", initial=state.global_step)
        self.start, self.first_epoch = time.monotonic(), state.epoch or 0.0

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        self.bar.update(state.global_step - self.bar.n)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **_: Any,
    ) -> None:
        if logs and "loss" in logs:
            tokens = self.tokens_per_epoch * ((state.epoch or 0.0) - self.first_epoch)
            speed = tokens / max(1e-9, time.monotonic() - self.start)
            self.bar.set_postfix_str(f"loss {float(logs['loss']):.3f}, {speed:,.0f} tokens/s")

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        self.bar.close()


class Curves(TrainerCallback):
    """Loss curves by DVCLive: one .tsv a curve under <folder>/plots/metrics/."""

    def __init__(self, folder: Path) -> None:
        from dvclive.live import Live

        self.live = Live(str(folder), dvcyaml=False, save_dvc_exp=False, report=None, monitor_system=False)

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        # A resumed run writes its first part again, so that its curves are those of an undisturbed one.
        for entry in state.log_history:
            self._write(int(entry["step"]), entry)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **_: Any,
    ) -> None:
        self._write(state.global_step, logs or {})

    def _write(self, step: int, logs: dict[str, float]) -> None:
        self.live.step = step
        for name in CURVES:
            if name in logs:
                self.live.log_metric(name, round(float(logs[name]), 6))

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        self.live.end()  # type: ignore[no-untyped-call]
