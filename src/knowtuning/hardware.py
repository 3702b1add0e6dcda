"""What the machine can do. None of this is a tracked parameter: it must not invalidate a stage."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import torch

Precision = Literal["float32", "bfloat16"]


@dataclass(frozen=True)
class Hardware:
    """Where and how a stage computes.

    device: cpu, cuda or mps. precision: of matrix products in training. micro_batch: rows a forward pass
    in training at most, None for the whole batch. batch_tokens: tokens a batch in prediction, and of the
    reference in KC, at most; None: as the stage sees fit. save_seconds: time between saves of a training's
    state, from which it goes on when killed; 0 saves at every step.
    """

    device: str
    precision: Precision
    micro_batch: int | None
    batch_tokens: int | None
    save_seconds: int = 30


def _whole(environ: Mapping[str, str], key: str, *, least: int) -> int | None:
    text = environ.get(key, "")
    if not text:
        return None
    if not text.isdecimal() or int(text) < least:
        raise ValueError(f"{key} is {text!r}; expected a whole number of at least {least}")
    return int(text)


def weights_dtype(hardware: Hardware) -> torch.dtype:
    """The type weights are held in: on a CPU always float32, since autocast is faster there than a cast."""
    import torch

    half = hardware.device != "cpu" and hardware.precision == "bfloat16"
    return torch.bfloat16 if half else torch.float32


def machine(hardware: Hardware) -> dict[str, str | int | None]:
    """What of the hardware may change the last bit of a result: state is not carried from one to another."""
    import torch

    if hardware.device.startswith("cuda"):
        name = torch.cuda.get_device_name()
    else:
        name = f"{torch.backends.cpu.get_cpu_capability()}, {torch.get_num_threads()} threads"
    return {
        "device": hardware.device,
        "name": name,
        "precision": hardware.precision,
        "micro_batch": hardware.micro_batch,
        "batch_tokens": hardware.batch_tokens,
    }


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
    """The hardware, with overrides from the environment.

    KNOWTUNING_DEVICE, _PRECISION, _MICRO_BATCH, _BATCH_TOKENS and _SAVE_SECONDS set the fields. Raises
    ValueError in one line for a value that this machine cannot honour.
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
    seconds = _whole(environ, "KNOWTUNING_SAVE_SECONDS", least=0)
    return Hardware(
        device=device,
        precision="bfloat16" if precision == "bfloat16" else "float32",
        micro_batch=_whole(environ, "KNOWTUNING_MICRO_BATCH", least=1),
        batch_tokens=_whole(environ, "KNOWTUNING_BATCH_TOKENS", least=1),
        save_seconds=30 if seconds is None else seconds,
    )
