"""Several processes that share the work of a stage, started by torchrun or by Accelerate's launcher."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Processes:
    """One process among `count`: each takes every count-th item, and all know all results at the end."""

    rank: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the process that shows progress and writes."""
        return self.rank == 0

    def share(self, items: Sequence[T]) -> list[T]:
        """The items of this process. Which they are depends on their place alone."""
        return list(items[self.rank :: self.count])

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


def started(environ: Mapping[str, str], device: str) -> Processes:
    """This process among those of its launcher; WORLD_SIZE and KNOWTUNING_PROCESSES say how many there are.

    Raises ValueError when they contradict each other or what Accelerate finds: `accelerate launch --cpu
    --num_processes 2` (1.15) runs a single process and says nothing.
    """
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
    return Processes(rank=state.process_index, count=state.num_processes)


def alone(environ: Mapping[str, str], stage: str) -> None:
    """Raise ValueError when a launcher started several processes of a stage that works in one."""
    if int(environ.get("WORLD_SIZE") or 1) > 1:
        raise ValueError(
            f"{stage} runs in one process, but WORLD_SIZE is {environ['WORLD_SIZE']}; start it with "
            f"`python -m stages.{stage}`; score and predict can share their work"
        )
