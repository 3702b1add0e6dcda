"""Batches by length: nothing lost, nothing over the budget, and no batch that one more sequence would fit."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from knowtuning.batching import by_length


@given(
    lengths=st.lists(st.integers(1, 30), max_size=40),
    budget=st.integers(1, 100),
    most=st.none() | st.integers(1, 5),
    padded=st.booleans(),
)
def test_batches_are_as_full_as_may_be(
    lengths: list[int], budget: int, most: int | None, padded: bool
) -> None:
    def tokens(batch: list[int]) -> int:
        return len(batch) * lengths[batch[0]] if padded else sum(lengths[index] for index in batch)

    batches = list(by_length(lengths, budget, most=most, padded=padded))
    order = [index for batch in batches for index in batch]
    assert order == sorted(range(len(lengths)), key=lambda index: (-lengths[index], index))
    for batch, following in zip(batches, [*batches[1:], []], strict=False):
        assert len(batch) == 1 or tokens(batch) <= budget
        assert most is None or len(batch) <= most
        if following and len(batch) != most:
            assert tokens([*batch, following[0]]) > budget
