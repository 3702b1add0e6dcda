"""Beside the optimisation: a progress bar, loss curves, and a stop on a loss that is no number."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

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


class Progress(TrainerCallback):
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
