"""The batches of a step dealt out to several processes, so that they train as one process would.

Accelerate fills an uneven last batch up with rows of the first one. Here no row is trained on twice: a
process that has none in a pass gets a row that does not count.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch.utils.data import DataLoader

from knowtuning.runtime.machine import Processes

# The column of an example that does not count.
IDLE = "idle"


def deal(rows: Sequence[int], batch: int, micro: int, processes: Processes) -> Iterator[list[int]]:
    """The micro-batches of this process: each step's rows in turns of `micro`, ~row for one that is idle.

    rows: in the order of the epoch. batch: rows a step of all processes together.
    """
    for start in range(0, len(rows), batch):
        step = rows[start : start + batch]
        for turn in range(0, len(step), micro * processes.count):
            first = turn + processes.rank * micro
            yield list(step[first : first + micro]) or [~step[0]]


class Shares:
    """A batch sampler of `deal`. The order of an epoch is that of Accelerate's sampler at the same seed."""

    def __init__(self, count: int, batch: int, micro: int, seed: int, processes: Processes) -> None:
        self.count, self.batch, self.micro = count, batch, micro
        self.seed, self.epoch, self.processes = seed, 0, processes

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __iter__(self) -> Iterator[list[int]]:
        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        order = torch.randperm(self.count, generator=generator).tolist()
        return deal(order, self.batch, self.micro, self.processes)

    def __len__(self) -> int:
        return sum(1 for _ in deal(range(self.count), self.batch, self.micro, self.processes))


class _Rows:
    """A dataset whose row ~i is row i, idle."""

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {**self.dataset[max(index, ~index)], IDLE: index < 0}


class ShareLoader(DataLoader[Any]):
    """The batches of this process; the Trainer tells it which epoch it is."""

    def __init__(self, dataset: Any, shares: Shares, collate: Callable[..., Any]) -> None:
        super().__init__(_Rows(dataset), batch_sampler=shares, collate_fn=collate)  # type: ignore[arg-type]
        self.shares = shares

    def set_epoch(self, epoch: int) -> None:
        self.shares.set_epoch(epoch)
