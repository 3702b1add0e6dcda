"""Hardware settings come from the environment; one that cannot be honoured is one line."""

from __future__ import annotations

import pytest

from knowtuning.runtime.machine import Hardware, detect


def test_settings_override_what_is_found() -> None:
    environ = {
        "KNOWTUNING_DEVICE": "cpu",
        "KNOWTUNING_PRECISION": "bfloat16",
        "KNOWTUNING_MICRO_BATCH": "4",
        "KNOWTUNING_BATCH_TOKENS": "100",
    }
    assert detect(environ) == Hardware("cpu", "bfloat16", 4, 100)
    assert detect({"KNOWTUNING_DEVICE": "cpu", "KNOWTUNING_PRECISION": "float32"}) == Hardware(
        "cpu", "float32", None, None
    )


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("DEVICE", "gpu", r"KNOWTUNING_DEVICE is 'gpu'; this machine has cpu"),
        ("DEVICE", "cuda:1", r"KNOWTUNING_DEVICE is 'cuda:1'; .* CUDA_VISIBLE_DEVICES"),
        ("PRECISION", "fp16", r"KNOWTUNING_PRECISION is 'fp16'; expected float32 or bfloat16"),
        ("MICRO_BATCH", "0", r"KNOWTUNING_MICRO_BATCH is '0'; expected a whole number of at least 1"),
        ("BATCH_TOKENS", "many", r"KNOWTUNING_BATCH_TOKENS is 'many'"),
    ],
)
def test_a_wrong_setting_is_named(key: str, value: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        detect({f"KNOWTUNING_{key}": value})
