"""Training that stops at any step and goes on: the same adapter, curves and summary to the byte."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from knowtuning.config.training import LoraParams
from knowtuning.core.storage import digest_folder
from knowtuning.model.hardware import Hardware
from knowtuning.model.resume import checkpoints
from knowtuning.pretraining import scratch
from knowtuning.training import callbacks
from tests.support.tiny_models import TEXTS, scratch_params
from tests.support.training import CPU, kc, sft

EVERY_STEP = Hardware(device="cpu", precision="float32", micro_batch=2, batch_tokens=512, save_seconds=0)
# Dropout draws random numbers in each forward pass, so that a lost random state would show.
DROPOUT = LoraParams(r=4, alpha=8, dropout=0.2, targets="all-linear")


class Stop(Exception):
    """Stands in for a kill."""


@pytest.fixture
def stops(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Steps at which the next runs stop, one a run."""
    steps: list[int] = []
    init = callbacks.Checkpoints.__init__

    def with_stop(self: Any, *args: Any) -> None:
        init(self, *args)
        step = steps.pop(0) if steps else 0
        # First in line, before the callback that saves.
        plain = self.on_step_end

        def on_step_end(args: Any, state: Any, control: Any, **rest: Any) -> None:
            if state.global_step == step:
                raise Stop
            plain(args, state, control, **rest)

        self.on_step_end = on_step_end

    monkeypatch.setattr(callbacks.Checkpoints, "__init__", with_stop)
    return steps


def run_sft(base: Path, folder: Path, hardware: Hardware, **changes: Any) -> Any:
    # 13 training rows in batches of 4: 2.9 epochs make ceil(37.7 / 4) = 10 steps.
    # Logs fall on every step, evaluations on each 4th.
    return sft(base, folder, hardware, lora=DROPOUT, **{"epochs": 2.9, "eval_every": 0.4, **changes})


def outputs(folder: Path, *parts: str) -> list[str]:
    return [digest_folder(folder / part) for part in parts]


@pytest.mark.parametrize(
    ("seconds", "at"),
    [
        # Saves at each step: inside the first epoch, at its end, at the very end.
        (0, (2, 5, 10)),
        # Saves where it evaluates, at steps 4, 8 and 10: before the first one, and inside the last epoch.
        pytest.param(1000, (3, 7, 10), marks=pytest.mark.slow),
    ],
)
def test_sft_goes_on_from_any_step(
    tiny_base: Path, tmp_path: Path, stops: list[int], seconds: int, at: tuple[int, ...]
) -> None:
    hardware = replace(EVERY_STEP, save_seconds=seconds)
    calm = run_sft(tiny_base, tmp_path / "calm", replace(EVERY_STEP, save_seconds=1000))
    assert calm.steps == 10
    rough = tmp_path / "rough"
    for step in at:
        stops[:] = [step]
        with pytest.raises(Stop):
            run_sft(tiny_base, rough, hardware)
    # What a kill during a save leaves: files without a manifest, or with one that does not fit.
    torn = rough / "state/checkpoint-9"
    (rough / "state/checkpoint-99").mkdir()
    if torn.exists():
        (torn / "optimizer.pt").write_bytes(b"torn")
    assert run_sft(tiny_base, rough, hardware) == calm
    assert outputs(rough, "sft", "plots") == outputs(tmp_path / "calm", "sft", "plots")
    # After the last step there is nothing left to train, and the same to write.
    assert run_sft(tiny_base, rough, hardware) == calm
    assert outputs(rough, "sft", "plots") == outputs(tmp_path / "calm", "sft", "plots")


def run_kc(base: Path, ka: Path, folder: Path, seconds: int) -> Any:
    # One step an epoch; 60 steps log every second step, and step 1.
    return kc(base, ka, folder, replace(CPU, save_seconds=seconds), batch=8, epochs=60.0, eval_every=0.5)


def test_kc_goes_on_between_two_logs_with_the_reference_it_had(
    tiny_base: Path, ka: Path, tmp_path: Path, stops: list[int]
) -> None:
    calm = run_kc(tiny_base, ka, tmp_path / "calm", 1000)
    rough = tmp_path / "rough"
    stops[:] = [8]
    with pytest.raises(Stop):
        run_kc(tiny_base, ka, rough, 0)
    # Steps 1, 2, 4, 6 … are logged, and so may be saved: step 7 is trained once more.
    assert [path.name for path in checkpoints(rough / "state")] == ["checkpoint-6"]
    assert run_kc(tiny_base, ka, rough, 1000) == calm
    assert outputs(rough, "kc", "plots") == outputs(tmp_path / "calm", "kc", "plots")


def test_the_base_model_goes_on_from_any_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = scratch.ScratchTraining.step

    def build(out: Path, state: Path, stop: int) -> Any:
        done: list[int] = []

        def step(self: Any, *args: Any) -> float:
            loss = plain(self, *args)
            done.append(len(self.losses))
            if len(self.losses) == stop:
                raise Stop
            return loss

        monkeypatch.setattr(scratch.ScratchTraining, "step", step)
        state.mkdir(exist_ok=True)
        params, hardware = scratch_params(), Hardware("cpu", "float32", save_seconds=0)
        return scratch.build_base(TEXTS, [], params, out, seed=3, hardware=hardware, state=state), done

    calm, steps = build(tmp_path / "calm", tmp_path / "calm-state", 0)
    for stop in (1, 7, 8, 19):
        with pytest.raises(Stop):
            build(tmp_path / "rough", tmp_path / "state", stop)
    # The last whole checkpoint is that of step 18; one that is torn is not taken up.
    (tmp_path / "state/checkpoint-19").mkdir()
    again, done = build(tmp_path / "rough", tmp_path / "state", 0)
    assert (again, done) == (calm, steps[18:])
    assert outputs(tmp_path, "rough") == outputs(tmp_path, "calm")
