"""What the machine can do, and which of several processes that share the work of a stage this is.

None of this is a tracked parameter: it must not invalidate a stage.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal, TypeVar

if TYPE_CHECKING:
    import torch

Precision = Literal["float32", "bfloat16"]
# Who splits the base model's weights over the processes, if anybody; with -cpu the parts wait in main memory.
Split = Literal["", "fsdp", "zero3", "zero3-cpu"]
T = TypeVar("T")
# Of glibc's malloc.h: M_TRIM_THRESHOLD, nothing is given back; M_MMAP_MAX, no piece has a mapping of its own.
_MALLOC = {-1: -1, -4: 0}
# Products that oneDNN and torch above it keep ready, half a MiB each; their own 1,024 each are no faster.
_PRODUCTS = {"ONEDNN_PRIMITIVE_CACHE_CAPACITY": "256", "LRU_CACHE_CAPACITY": "256"}


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


def whole_number(environ: Mapping[str, str], key: str, *, least: int) -> int | None:
    """The number that a variable holds, None where it is not set; raises ValueError for anything else."""
    text = environ.get(key, "")
    if not text:
        return None
    if not text.isdecimal() or int(text) < least:
        raise ValueError(f"{key} is {text!r}; expected a whole number of at least {least}")
    return int(text)


def forward_tokens(hardware: Hardware) -> int:
    """Tokens of a pass without gradients, where no setting says."""
    return 8192 if hardware.device == "cpu" else 16384


def weights_dtype(hardware: Hardware) -> torch.dtype:
    """The type weights are held in: on a CPU always float32, since autocast is faster there than a cast."""
    import torch

    half = hardware.device != "cpu" and hardware.precision == "bfloat16"
    return torch.bfloat16 if half else torch.float32


def fingerprint(hardware: Hardware) -> dict[str, str | int | None]:
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
    seconds = whole_number(environ, "KNOWTUNING_SAVE_SECONDS", least=0)
    return Hardware(
        device=device,
        precision="bfloat16" if precision == "bfloat16" else "float32",
        micro_batch=whole_number(environ, "KNOWTUNING_MICRO_BATCH", least=1),
        batch_tokens=whole_number(environ, "KNOWTUNING_BATCH_TOKENS", least=1),
        save_seconds=30 if seconds is None else seconds,
    )


def set_up(environ: MutableMapping[str, str]) -> Hardware:
    """The hardware (see `detect`), made ready: a process on a CPU keeps the memory that it frees.

    To be called before the first product, when the environment is asked how many are to be kept ready.
    """
    hardware = detect(environ)
    if hardware.device == "cpu":
        keep_memory()
        for name, value in _PRODUCTS.items():
            environ.setdefault(name, value)
    return hardware


def keep_memory() -> None:
    """Keep freed memory for what the process allocates next: glibc would give large pieces back at once.

    Getting them anew, page by page, takes up to a third of the time of passes on a CPU. The peak grows by the
    gaps between pieces of many sizes.
    """
    import ctypes

    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:  # glibc's; musl has none
        for name, value in _MALLOC.items():
            mallopt(name, value)


@dataclass(frozen=True)
class Processes:
    """One process among `count`: each takes every count-th item, and all know all results at the end.

    split: not empty where each holds a part of the base model's weights, so that a pass needs them all
    (models.py).
    """

    rank: int = 0
    count: int = 1
    split: Split = ""

    @property
    def first(self) -> bool:
        """Whether this is the process that shows progress and writes."""
        return self.rank == 0

    def share(self, items: Sequence[T], *, alike: bool = True) -> list[T]:
        """The items of this process. Which they are depends on their place alone.

        Where weights are split all processes must take the same number of passes: their shares are of equal
        length, by the last item once more, and of items that are not `alike` in passes each has all.
        """
        if not self.split:
            return list(items[self.rank :: self.count])
        if not alike:
            return list(items)
        return [items[min(place + self.rank, len(items) - 1)] for place in range(0, len(items), self.count)]

    def wait(self) -> None:
        """Wait until all processes are here."""
        if self.count > 1:
            from accelerate import PartialState

            PartialState().wait_for_everyone()

    def union(self, found: dict[str, Any]) -> dict[str, Any]:
        """The entries that any process has found."""
        if self.count == 1:
            return found
        from accelerate.utils import gather_object

        return {key: value for part in gather_object([found]) for key, value in part.items()}


ALONE = Processes()


DEEPSPEED = "deepspeed==0.19.8"
# What a launcher says of DeepSpeed: Accelerate's default, what is supported, what to do about the rest.
_ZERO3 = {
    "ACCELERATE_DEEPSPEED_CONFIG_FILE": (
        "none",
        ("none",),
        "nothing in it would be heeded; start with experiments/accelerate/deepspeed.yaml",
    ),
    "ACCELERATE_DEEPSPEED_ZERO_STAGE": (
        "2",
        ("3",),
        "the others split what is trained, a small adapter; start with experiments/accelerate/ddp.yaml",
    ),
    "ACCELERATE_DEEPSPEED_OFFLOAD_PARAM_DEVICE": ("none", ("none", "cpu"), "set offload_param_device"),
    "ACCELERATE_DEEPSPEED_OFFLOAD_OPTIMIZER_DEVICE": (
        "none",
        ("none",),
        "it is an adapter's and small; set offload_optimizer_device",
    ),
}


def _asked(environ: Mapping[str, str], name: str) -> bool:
    return environ.get(name, "").lower() in ("true", "1")


def _zero3(environ: Mapping[str, str]) -> Split:
    """How ZeRO-3 is to split weights; raises ValueError for what is not supported or not installed."""
    for name, (default, supported, fix) in _ZERO3.items():
        found = environ.get(name) or default
        if found not in supported:
            raise ValueError(f"{name} is {found}; expected {' or '.join(supported)}: {fix}")
    if find_spec("deepspeed") is None:
        raise ValueError(
            f"ACCELERATE_USE_DEEPSPEED is true, but DeepSpeed is missing; `pip install {DEEPSPEED}`"
        )
    return "zero3-cpu" if environ.get("ACCELERATE_DEEPSPEED_OFFLOAD_PARAM_DEVICE") == "cpu" else "zero3"


def splits(environ: MutableMapping[str, str]) -> Split:
    """Who is to split the weights, as the launcher says; from here on nobody else hears of it.

    Otherwise Accelerate would split the adapter too. Raises ValueError for what is not supported.
    """
    if _asked(environ, "ACCELERATE_USE_DEEPSPEED"):
        found = _zero3(environ)
        del environ["ACCELERATE_USE_DEEPSPEED"]
        return found
    if _asked(environ, "FSDP_OFFLOAD_PARAMS"):
        raise ValueError(
            f"FSDP_OFFLOAD_PARAMS is {environ['FSDP_OFFLOAD_PARAMS']}, which is not supported; set "
            "fsdp_offload_params to false, or start with experiments/accelerate/deepspeed.yaml and "
            "offload_param_device cpu"
        )
    fsdp = _asked(environ, "ACCELERATE_USE_FSDP")
    environ.pop("ACCELERATE_USE_FSDP", None)
    return "fsdp" if fsdp else ""


def started(environ: MutableMapping[str, str], device: str) -> Processes:
    """This process among those of its launcher; WORLD_SIZE and KNOWTUNING_PROCESSES say how many there are.

    Raises ValueError when they contradict each other or what Accelerate finds: `accelerate launch --cpu
    --num_processes 2` (1.15) runs a single process and says nothing.
    """
    split = splits(environ)
    if split.startswith("zero3"):
        # Before anything imports DeepSpeed, which would take a card where it finds one.
        environ["DS_ACCELERATOR"] = device
    world = int(environ.get("WORLD_SIZE") or 1)
    wanted = int(environ.get("KNOWTUNING_PROCESSES") or world)
    if wanted != world:
        raise ValueError(
            f"KNOWTUNING_PROCESSES is {wanted} but the launcher started {world}; start with "
            f"`torchrun --nproc_per_node {wanted}`, or unset KNOWTUNING_PROCESSES"
        )
    if world == 1:
        return ALONE
    from accelerate import PartialState

    state = PartialState(cpu=device == "cpu")
    if state.num_processes != world:
        raise ValueError(f"Accelerate runs {state.num_processes} processes; WORLD_SIZE is {world}")
    return Processes(rank=state.process_index, count=state.num_processes, split=split)


def alone(environ: Mapping[str, str], stage: str) -> None:
    """Raise ValueError when a launcher started several processes of a stage that works in one."""
    if int(environ.get("WORLD_SIZE") or 1) > 1:
        raise ValueError(
            f"{stage} runs in one process, but WORLD_SIZE is {environ['WORLD_SIZE']}; start it with "
            f"`python -m stages.{stage}`; train_*, score and predict can share their work"
        )
