"""What the machine can do, and which of several processes that share the work of a stage this is.

None of this is a tracked parameter: it must not invalidate a stage.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args

if TYPE_CHECKING:
    import torch

Precision = Literal["float32", "bfloat16"]
Checkpointing = Literal["auto", "on", "off"]
T = TypeVar("T")


@dataclass(frozen=True)
class Hardware:
    """Where and how a stage computes.

    device: cpu, cuda or mps. precision: of matrix products in training. micro_batch: rows of a forward and
    backward pass; None: as many as fit (memory.py). batch_tokens: tokens of a forward pass without gradients;
    None: 8,192 on a CPU, 16,384 elsewhere. save_seconds: least time between checkpoints; 0: at each logged
    step. checkpointing: whether activations are computed again in the backward pass; auto: if they do not
    fit.
    """

    device: str
    precision: Precision
    micro_batch: int | None = None
    batch_tokens: int | None = None
    save_seconds: int = 30
    checkpointing: Checkpointing = "auto"

    @property
    def forward_tokens(self) -> int:
        """Tokens of a forward pass without gradients, padding included."""
        return self.batch_tokens or (8192 if self.device == "cpu" else 16384)

    @property
    def weights_dtype(self) -> torch.dtype:
        """The type weights are held in: float32 on a CPU, where autocast is faster than a cast."""
        import torch

        half = self.device != "cpu" and self.precision == "bfloat16"
        return torch.bfloat16 if half else torch.float32

    def autocast(self) -> torch.autocast:
        """Autocast to bfloat16 where that is the precision."""
        import torch

        return torch.autocast(self.device, torch.bfloat16, enabled=self.precision == "bfloat16")

    def fingerprint(self) -> dict[str, str | int | None]:
        """What may change the last bit of a result: state is not carried from one machine to another."""
        import torch

        name = f"{torch.backends.cpu.get_cpu_capability()}, {torch.get_num_threads()} threads"
        if self.device == "cuda":
            name = torch.cuda.get_device_name()
        # How often state is saved changes nothing.
        return {**vars(self), "name": name, "save_seconds": None}


def _native_precision(device: str) -> Precision:
    """bfloat16 where the device multiplies it in hardware; emulated it is hundreds of times slower."""
    import torch

    if device == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported() else "float32"
    if device == "cpu":
        has = torch.cpu.get_capabilities()
        return "bfloat16" if has.get("avx512_bf16") or has.get("amx_bf16") else "float32"
    return "float32"


def whole_number(environ: Mapping[str, str], key: str, *, least: int) -> int | None:
    """The number that a variable holds, None where it is not set; raises ValueError for anything else."""
    text = environ.get(key, "")
    if not text:
        return None
    if not text.isdecimal() or int(text) < least:
        raise ValueError(f"{key} is {text!r}; expected a whole number of at least {least}")
    return int(text)


def detect(environ: Mapping[str, str]) -> Hardware:
    """The hardware, with overrides from the environment.

    KNOWTUNING_DEVICE, _PRECISION, _MICRO_BATCH, _BATCH_TOKENS, _SAVE_SECONDS and _CHECKPOINTING set the
    fields. Raises ValueError in one line for a value that this machine cannot honour.
    """
    import torch

    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    device = environ.get("KNOWTUNING_DEVICE") or ("cuda" if available["cuda"] else "cpu")
    if not available.get(device):
        usable = " or ".join(name for name, usable in available.items() if usable)
        raise ValueError(
            f"KNOWTUNING_DEVICE is {device!r}; this machine has {usable}; choose among several cards with "
            "CUDA_VISIBLE_DEVICES"
        )
    seconds = whole_number(environ, "KNOWTUNING_SAVE_SECONDS", least=0)
    return Hardware(
        device=device,
        precision=_one_of(environ, "KNOWTUNING_PRECISION", Precision, _native_precision(device)),
        micro_batch=whole_number(environ, "KNOWTUNING_MICRO_BATCH", least=1),
        batch_tokens=whole_number(environ, "KNOWTUNING_BATCH_TOKENS", least=1),
        save_seconds=30 if seconds is None else seconds,
        checkpointing=_one_of(environ, "KNOWTUNING_CHECKPOINTING", Checkpointing, "auto"),
    )


def _one_of(environ: Mapping[str, str], key: str, choices: Any, default: str) -> Any:
    value = environ.get(key) or default
    if value not in get_args(choices):
        raise ValueError(f"{key} is {value!r}; expected {' or '.join(get_args(choices))}")
    return value


@dataclass(frozen=True)
class Processes:
    """One process among `count`: each takes every count-th item, and all know all results at the end.

    sharded: whether the launcher has Accelerate split the weights in training (FSDP, DeepSpeed).
    """

    rank: int = 0
    count: int = 1
    sharded: bool = False

    @property
    def first(self) -> bool:
        """Whether this is the process that shows progress and writes."""
        return self.rank == 0

    def share(self, items: Sequence[T]) -> list[T]:
        """The items of this process, which depend on their index alone."""
        return list(items[self.rank :: self.count])

    def wait(self) -> None:
        if self.count > 1:
            from accelerate import PartialState

            PartialState().wait_for_everyone()

    def union(self, results: dict[str, Any]) -> dict[str, Any]:
        """The entries of all processes."""
        if self.count == 1:
            return results
        from accelerate.utils import gather_object

        return {key: value for part in gather_object([results]) for key, value in part.items()}

    def agreed(self, value: T) -> T:
        """What the first process has as `value`."""
        if self.count == 1:
            return value
        from accelerate.utils import broadcast_object_list

        return broadcast_object_list([value])[0]  # type: ignore[no-any-return]


ALONE = Processes()


def detect_processes(environ: Mapping[str, str], device: str) -> Processes:
    """This process among those of its launcher; WORLD_SIZE and KNOWTUNING_PROCESSES say how many there are.

    Raises ValueError when they contradict each other or what Accelerate runs: `accelerate launch --cpu
    --num_processes 2` (1.15) runs a single process and says nothing.
    """
    world = whole_number(environ, "WORLD_SIZE", least=1) or 1
    wanted = whole_number(environ, "KNOWTUNING_PROCESSES", least=1) or world
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
    launchers = ("ACCELERATE_USE_FSDP", "ACCELERATE_USE_DEEPSPEED")
    sharded = any(environ.get(name, "").lower() in ("true", "1") for name in launchers)
    return Processes(rank=state.process_index, count=world, sharded=sharded)


def check_single_process(environ: Mapping[str, str], stage: str) -> None:
    """Raise ValueError when a launcher started several processes of a stage that works in one."""
    if (whole_number(environ, "WORLD_SIZE", least=1) or 1) > 1:
        raise ValueError(
            f"{stage} runs in one process, but WORLD_SIZE is {environ['WORLD_SIZE']}; start it with "
            f"`python -m stages.{stage}`; train_*, score and predict can share their work"
        )
