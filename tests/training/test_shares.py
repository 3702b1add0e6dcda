"""Steps dealt out to processes hold what the steps of one process hold."""

from __future__ import annotations

import torch
from accelerate.data_loader import SeedableRandomSampler
from hypothesis import given
from hypothesis import strategies as st

from knowtuning.runtime.machine import ALONE, Processes
from knowtuning.training.engine.shares import Shares, deal


@given(
    count=st.integers(1, 40), processes=st.integers(1, 4), micro=st.integers(1, 3), turns=st.integers(1, 3)
)
def test_every_step_has_the_rows_it_has_in_one_process(
    count: int, processes: int, micro: int, turns: int
) -> None:
    batch = processes * micro * turns
    rows = list(range(count))
    shares = [list(deal(rows, batch, micro, Processes(rank, processes))) for rank in range(processes)]
    # All processes take the same number of passes, or one would wait for ever.
    assert len({len(share) for share in shares}) == 1
    passes = -(-min(count, batch) // (processes * micro))
    step = {row for share in shares for found in share[:passes] for row in found if row >= 0}
    assert step == set(rows[:batch])
    counted = [row for share in shares for found in share for row in found if row >= 0]
    assert sorted(counted) == rows
    idle = [found for share in shares for found in share if min(found) < 0]
    assert all(len(found) == 1 and 0 <= ~found[0] < count for found in idle)


def test_the_order_is_that_of_one_process() -> None:
    torch.manual_seed(7)
    sampler = SeedableRandomSampler(range(30))
    shares = Shares(30, 8, 8, 7, ALONE)
    for epoch in range(3):
        sampler.set_epoch(epoch)
        shares.set_epoch(epoch)
        assert [row for found in shares for row in found] == list(sampler)
    assert len(shares) == 4
