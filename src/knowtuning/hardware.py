"""What the machine can do. None of this is a tracked parameter: it must not invalidate a stage."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Precision = Literal["float32", "bfloat16"]


@dataclass(frozen=True)
class Hardware:
    """Where and how a stage computes.

    device: cpu, cuda or mps. precision: of matrix products in training. micro_batch: rows a forward pass
    in training at most, None for the whole batch. batch_tokens: tokens a forward pass in scoring and
    prediction at most.
    """

    device: str
    precision: Precision
    micro_batch: int | None
    batch_tokens: int


def _positive(environ: Mapping[str, str], key: str) -> int | None:
    text = environ.get(key, "")
    if not text:
        return None
    if not text.isdecimal() or int(text) < 1:
        raise ValueError(f"{key} is {text!r}; expected a whole number of at least 1")
    return int(text)


def _native_precision(device: str) -> Precision:
    """bfloat16 where the device multiplies it in hardware.

    On a CPU without such instructions bfloat16 is emulated and hundreds of times slower than float32.
    """
    import torch

    if device.startswith("cuda"):
        return "bfloat16" if torch.cuda.is_bf16_supported() else "float32"
    fast = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return "bfloat16" if fast else "float32"


def detect(environ: Mapping[str, str]) -> Hardware:
    """The hardware, with overrides from KNOWTUNING_DEVICE, _PRECISION, _MICRO_BATCH and _BATCH_TOKENS.

    Raises ValueError in one line for a value that this machine cannot honour.
    """
    import torch

    device = environ.get("KNOWTUNING_DEVICE") or ("cuda" if torch.cuda.is_available() else "cpu")
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not there.get(device):
        usable = " or ".join(name for name, found in there.items() if found)
        raise ValueError(
            f"KNOWTUNING_DEVICE is {device!r}; this machine has {usable}; choose among several cards with "
            "CUDA_VISIBLE_DEVICES"
        )
    precision = environ.get("KNOWTUNING_PRECISION") or _native_precision(device)
    if precision not in ("float32", "bfloat16"):
        raise ValueError(f"KNOWTUNING_PRECISION is {precision!r}; expected float32 or bfloat16")
    return Hardware(
        device=device,
        precision="bfloat16" if precision == "bfloat16" else "float32",
        micro_batch=_positive(environ, "KNOWTUNING_MICRO_BATCH"),
        batch_tokens=_positive(environ, "KNOWTUNING_BATCH_TOKENS") or 8192,
    )
