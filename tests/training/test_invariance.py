"""Runs that must agree: one batch or several micro-batches, reference computed beforehand or in each step.

They differ in the order of float32 additions alone. A loss is a mean over some 100 token losses of about 5.8
nats, each right to 2^-24 of its size, and an optimizer step carries such an error on without adding to its
order; over these few steps 1e-4 nats leaves a factor of more than 100.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from test_train import CPU, LORA, pairs, rows, schedule

from knowtuning.config.training import KCParams, Schedule
from knowtuning.runtime.machine import Hardware
from knowtuning.training.engine.loop import arguments
from knowtuning.training.kc import train_kc
from knowtuning.training.sft import train_sft

TOLERANCE = 1e-4  # nats


def curve(folder: Path, name: str) -> list[float]:
    lines = (folder / f"plots/metrics/{name}.tsv").read_text().splitlines()[1:]
    return [float(line.split("\t")[-1]) for line in lines]


def micro(size: int) -> Hardware:
    return Hardware(**{**vars(CPU), "micro_batch": size})


def sft(base: Path, folder: Path, hardware: Hardware, how: dict[str, Any] | None = None) -> list[float]:
    # 13 of 15 rows train, in batches of 8: an epoch ends with a batch of 5.
    train_sft(
        rows(base),
        base,
        folder / "sft",
        folder / "curves",
        section="train_sft",
        params=Schedule(**(how or schedule(batch=8, epochs=3.0))),
        lora=LORA,
        hardware=hardware,
        state=folder / "state",
        seed=1,
    )
    return curve(folder / "curves", "loss") + curve(folder / "curves", "eval_loss")


def kc(base: Path, start: Path, folder: Path, hardware: Hardware, gamma: float = 0.0) -> list[float]:
    # The NLL term is a mean over the tokens of a micro-batch and so depends on its size.
    options = {"beta": 0.1, "gamma": gamma, "reference": "ka"}
    train_kc(
        pairs(base),
        base,
        start,
        folder / "kc",
        folder / "curves",
        params=KCParams(**{**schedule(batch=4, epochs=4.0), **options}),
        hardware=hardware,
        state=folder / "state",
        seed=1,
    )
    return curve(folder / "curves", "loss") + curve(folder / "curves", "rewards/margins")


def test_eight_rows_at_once_equal_one_row_eight_times(tiny_base: Path, tmp_path: Path) -> None:
    whole = sft(tiny_base, tmp_path / "8x1", micro(8))
    assert sft(tiny_base, tmp_path / "1x8", micro(1)) == pytest.approx(whole, abs=TOLERANCE)


def test_four_pairs_at_once_equal_one_pair_four_times(
    tiny_base: Path,
    ka: Path,
    tmp_path: Path,
) -> None:
    whole = kc(tiny_base, ka, tmp_path / "4x1", micro(4))
    assert kc(tiny_base, ka, tmp_path / "1x4", micro(1)) == pytest.approx(whole, abs=TOLERANCE)


def padded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Training as on a model that cannot share a prompt: TRL pads the batches and computes the loss."""
    for module in ("sft", "kc"):
        monkeypatch.setattr(f"knowtuning.training.{module}.packs", lambda *_: False, raising=False)
    monkeypatch.setattr("knowtuning.training.engine.trainers.packs", lambda *_: False)


def test_a_packed_batch_equals_a_padded_one(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # All rows in one batch: padded batches would otherwise hold other rows.
    one_batch = schedule(batch=64, epochs=6.0)
    packed = sft(tiny_base, tmp_path / "packed", CPU, one_batch)
    padded(monkeypatch)
    assert sft(tiny_base, tmp_path / "padded", CPU, one_batch) == pytest.approx(packed, abs=TOLERANCE)


@pytest.mark.parametrize("gamma", [0.0, 0.2])
def test_a_shared_prompt_equals_a_separate_one_and_a_reference_in_each_step(
    tiny_base: Path, ka: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gamma: float
) -> None:
    from knowtuning.training.engine.trainers import PairTrainer

    shared = kc(tiny_base, ka, tmp_path / "shared", CPU, gamma)
    padded(monkeypatch)
    assert kc(tiny_base, ka, tmp_path / "separate", CPU, gamma) == pytest.approx(shared, abs=TOLERANCE)
    plain = PairTrainer.__init__

    def online(self: Any, **options: Any) -> None:
        plain(self, **options)
        self.precompute_ref_logps = False

    monkeypatch.setattr(PairTrainer, "__init__", online)
    assert kc(tiny_base, ka, tmp_path / "online", CPU, gamma) == pytest.approx(shared, abs=TOLERANCE)


def test_layers_computed_again_in_the_backward_pass_change_nothing(
    tiny_base: Path, ka: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As on a GPU, where it saves memory.
    kept = sft(tiny_base, tmp_path / "sft", CPU), kc(tiny_base, ka, tmp_path / "kc", CPU, 0.2)
    for module in ("sft", "kc"):
        monkeypatch.setattr(
            f"knowtuning.training.{module}.arguments",
            lambda *args, **rest: {**arguments(*args, **rest), "activation_checkpointing": True},
        )
    monkeypatch.setattr("knowtuning.head._CPU", 1000)  # the logits too, in parts
    again = sft(tiny_base, tmp_path / "sft-2", CPU), kc(tiny_base, ka, tmp_path / "kc-2", CPU, 0.2)
    for found, expected in zip(again, kept, strict=True):
        assert found == pytest.approx(expected, abs=TOLERANCE)


@pytest.mark.parametrize("parts", [1, 7])
def test_the_frozen_head_is_the_head(
    tiny_base: Path, ka: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parts: int
) -> None:
    fused = sft(tiny_base, tmp_path / "sft", CPU), kc(tiny_base, ka, tmp_path / "kc", CPU, 0.2)
    # As where the head has an adapter; in one part, or in several that are computed again.
    monkeypatch.setattr("knowtuning.head.frozen", lambda _: False)
    monkeypatch.setattr("knowtuning.likelihood._LOGITS", 2**26 if parts == 1 else 1000)
    plain = sft(tiny_base, tmp_path / "sft-2", CPU), kc(tiny_base, ka, tmp_path / "kc-2", CPU, 0.2)
    for found, expected in zip(plain, fused, strict=True):
        assert found == pytest.approx(expected, abs=TOLERANCE)


def test_bfloat16_is_float32_but_for_rounding(tiny_base: Path, ka: Path, tmp_path: Path) -> None:
    half = Hardware(**{**vars(CPU), "precision": "bfloat16"})
    single = sft(tiny_base, tmp_path / "sft", CPU), kc(tiny_base, ka, tmp_path / "kc", CPU, 0.2)
    found = sft(tiny_base, tmp_path / "sft-2", half), kc(tiny_base, ka, tmp_path / "kc-2", half, 0.2)
    # A product of bfloat16 numbers is right to 2^-8, losses of 5.8 nats to about 0.02.
    assert found[0] == pytest.approx(single[0], abs=0.05)
    assert found[1] == pytest.approx(single[1], abs=0.05)
    assert found != single
