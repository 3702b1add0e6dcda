"""Hardware settings come from the environment; one that cannot be honoured is one line."""

from __future__ import annotations

import pytest

from knowtuning.model.hardware import Hardware, Processes, detect


def test_settings_override_what_is_detected() -> None:
    environ = {
        "KNOWTUNING_DEVICE": "cpu",
        "KNOWTUNING_PRECISION": "bfloat16",
        "KNOWTUNING_MICRO_BATCH": "4",
        "KNOWTUNING_BATCH_TOKENS": "100",
        "KNOWTUNING_SAVE_SECONDS": "0",
        "KNOWTUNING_CHECKPOINTING": "on",
    }
    assert detect(environ) == Hardware("cpu", "bfloat16", 4, 100, 0, "on")
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
        ("CHECKPOINTING", "yes", r"KNOWTUNING_CHECKPOINTING is 'yes'; expected auto or on or off"),
    ],
)
def test_a_wrong_setting_is_named(key: str, value: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        detect({f"KNOWTUNING_{key}": value})


@pytest.mark.parametrize("flag", ["avx512_bf16", "amx_bf16", None])
def test_a_cpu_computes_in_bfloat16_where_it_has_instructions_for_it(
    monkeypatch: pytest.MonkeyPatch, flag: str | None
) -> None:
    monkeypatch.setattr("torch.cpu.get_capabilities", lambda: {"avx2": True, flag: True})
    expected = "bfloat16" if flag else "float32"
    assert detect({"KNOWTUNING_DEVICE": "cpu"}).precision == expected


def test_processes_take_turns_and_split_no_item() -> None:
    shares = [Processes(rank, 3).share(range(10)) for rank in range(3)]
    assert shares == [[0, 3, 6, 9], [1, 4, 7], [2, 5, 8]]
