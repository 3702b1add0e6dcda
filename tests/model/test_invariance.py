"""Runs that must agree: micro-batches, checkpointing, heads, the reference beforehand or in each step.

They differ in the order of float32 additions alone. A loss is a mean over some 100 token losses of about 5.8
nats, each right to 2^-24 of its size, and an optimizer step carries such an error on without adding to its
order; over these few steps 1e-4 nats leaves a factor of more than 100.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from knowtuning.model.hardware import Hardware
from knowtuning.training import logps, trainer
from tests.support.training import CPU, curve, kc, micro_batch, sft

TOLERANCE = 1e-4  # nats


def both(base: Path, start: Path, folder: Path, hardware: Hardware) -> list[list[float]]:
    """The curves of SFT and of KC."""
    sft(base, folder / "a", hardware, batch=8, epochs=3.0)
    plots = folder / "a/plots"
    return [curve(plots, "loss") + curve(plots, "eval_loss"), kc_curves(base, start, folder, hardware)]


def kc_curves(base: Path, start: Path, folder: Path, hardware: Hardware) -> list[float]:
    kc(base, start, folder, hardware)
    names = ("loss", "eval_loss", "rewards/margins", "eval_rewards/margins", "logps/chosen")
    return [value for name in names for value in curve(folder / "plots", name)]


@pytest.fixture(scope="module")
def expected(tiny_base: Path, ka: Path, tmp_path_factory: pytest.TempPathFactory) -> list[list[float]]:
    """The curves with a step's rows in one pass."""
    return both(tiny_base, ka, tmp_path_factory.mktemp("expected"), CPU)


WAYS = {
    "a row a pass": micro_batch(1),
    "activations computed again": replace(CPU, checkpointing="on"),
    "the head of TRL": CPU,
}


@pytest.mark.parametrize("way", WAYS)
def test_a_step_is_the_same_however_it_is_computed(
    tiny_base: Path,
    ka: Path,
    tmp_path: Path,
    expected: list[list[float]],
    monkeypatch: pytest.MonkeyPatch,
    way: str,
) -> None:
    if way == "the head of TRL":
        monkeypatch.setattr(logps, "has_frozen_head", lambda _: False)
    for curves, known in zip(both(tiny_base, ka, tmp_path, WAYS[way]), expected, strict=True):
        assert curves == pytest.approx(known, abs=TOLERANCE)


def test_a_reference_in_each_step_equals_one_computed_beforehand(
    tiny_base: Path, ka: Path, tmp_path: Path, expected: list[list[float]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def without(pairs: Any, _: Any) -> list[dict[str, Any]]:
        return [vars(pair) for pair in pairs]

    monkeypatch.setattr(trainer, "with_reference", without)
    assert kc_curves(tiny_base, ka, tmp_path, CPU) == pytest.approx(expected[1], abs=TOLERANCE)


def test_bfloat16_is_float32_but_for_rounding(
    tiny_base: Path, ka: Path, tmp_path: Path, expected: list[list[float]]
) -> None:
    half = both(tiny_base, ka, tmp_path, replace(CPU, precision="bfloat16"))
    # A product of bfloat16 numbers is right to 2^-8: losses of 5.8 nats a token to about 0.02, sums over some
    # ten tokens to ten times that.
    assert half[0] == pytest.approx(expected[0], abs=0.05)
    assert half[1] == pytest.approx(expected[1], abs=0.5)
    assert half != expected
