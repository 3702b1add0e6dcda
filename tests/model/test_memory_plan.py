"""How many rows go through the model at a time."""

from __future__ import annotations

from typing import Any

import pytest
from transformers import LlamaConfig

from knowtuning.model import memory
from knowtuning.model.hardware import Hardware
from knowtuning.model.memory import Plan, plan

CPU = Hardware("cpu", "float32")
GPU = Hardware("cuda", "bfloat16")
SMALL: Any = LlamaConfig(hidden_size=64, num_hidden_layers=2)
LARGE: Any = LlamaConfig(hidden_size=4096, num_hidden_layers=32)


def on_a_card(monkeypatch: pytest.MonkeyPatch, gigabytes: float) -> None:
    monkeypatch.setattr(memory, "free_bytes", lambda _: int(gigabytes * 1e9))


def test_rows_of_one_length_go_in_as_few_passes_as_fit() -> None:
    # 2,048 tokens a pass: 8 of 256 tokens, and 4 pairs of two sequences.
    assert plan([256] * 64, 32, SMALL, CPU) == Plan(8, False)
    assert plan([256] * 64, 32, SMALL, CPU, sequences=2) == Plan(4, False)
    assert plan([3000] * 4, 4, SMALL, CPU) == Plan(1, False)


def test_a_long_row_does_not_pad_a_whole_step(monkeypatch: pytest.MonkeyPatch) -> None:
    on_a_card(monkeypatch, 60)
    # A step of one row of 512 tokens and 31 of 100. At once it is 32 · 512 = 16,384 tokens; in 8 passes of 4,
    # 4 · 512 + 28 · 100 + 8 · 1,024; in 4 passes of 8, 8 · 512 + 24 · 100 + 4 · 1,024 = 10,592, the least.
    step = [512, *[100] * 31]
    assert plan(step * 5, 32, SMALL, GPU).micro_batch == 8
    assert plan([512] * 32, 32, SMALL, GPU).micro_batch == 32


def test_activations_are_computed_again_only_where_a_row_does_not_fit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # 80 · 4,096 · 32 bytes a token: 10.7 GB for a row of 1,024 tokens.
    for gigabytes, again in ((12, False), (9, True)):
        on_a_card(monkeypatch, gigabytes)
        assert plan([1024] * 32, 32, LARGE, GPU).checkpointing is again
    # 0.6 GB a row with checkpointing: 15 fit, 8 divide the step.
    assert plan([1024] * 32, 32, LARGE, GPU).micro_batch == 8


@pytest.mark.parametrize(("choice", "again"), [("on", True), ("off", False)])
def test_settings_have_the_last_word(monkeypatch: pytest.MonkeyPatch, choice: Any, again: bool) -> None:
    on_a_card(monkeypatch, 9)
    hardware = Hardware("cuda", "bfloat16", micro_batch=2, checkpointing=choice)
    assert plan([1024] * 32, 32, LARGE, hardware) == Plan(2, again)
    # Two rows of those that are asked for do not fit without.
    on_a_card(monkeypatch, 20)
    assert plan([1024] * 32, 32, LARGE, Hardware("cuda", "bfloat16", micro_batch=2)) == Plan(2, True)
