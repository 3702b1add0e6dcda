"""Packed batches hold every token once, and each sees what it would see alone."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from knowtuning.packing import Tree, fill, lay_out, packed

lengths = st.lists(st.integers(1, 50), min_size=1, max_size=40)
tokens = st.lists(st.integers(0, 99), min_size=1, max_size=5).map(tuple)
trees = st.lists(
    st.builds(Tree, prompt=tokens, branches=st.lists(tokens, min_size=1, max_size=3).map(tuple)),
    min_size=1,
    max_size=6,
)


@given(lengths=lengths, width=st.integers(50, 120))
def test_rows_hold_every_input_once_and_are_no_longer_than_asked(lengths: list[int], width: int) -> None:
    rows = fill(lengths, width)
    assert sorted(index for row in rows for index in row) == list(range(len(lengths)))
    used = [sum(lengths[index] for index in row) for row in rows]
    assert max(used) <= width
    # No two rows fit into one.
    assert len(used) < 2 or sum(sorted(used)[:2]) > width


@given(lengths=lengths)
def test_packing_never_processes_more_than_padding(lengths: list[int]) -> None:
    rows = packed(lengths, hidden=128)
    width = max(sum(lengths[index] for index in row) for row in rows)
    cost = len(rows) * width * (1 + width / (6.5 * 128))
    assert cost <= len(lengths) * max(lengths) * (1 + max(lengths) / (6.5 * 128))


def test_hardly_anything_is_padding() -> None:
    draw = random.Random(0)
    for hidden, size in ((128, 32), (640, 32), (4096, 32), (4096, 128)):
        given, processed = 0, 0
        for _ in range(20):
            lengths = [min(1024, round(draw.lognormvariate(4.5, 0.8)) + 8) for _ in range(size)]
            rows = packed(lengths, hidden)
            given += sum(lengths)
            processed += len(rows) * max(sum(lengths[index] for index in row) for row in rows)
        assert processed <= 1.05 * given


@given(trees=trees, width=st.integers(20, 60))
def test_a_token_sees_its_prompt_and_its_own_completion_alone(trees: list[Tree], width: int) -> None:
    import torch

    batch = lay_out(trees, fill(list(map(len, trees)), width))
    seen = batch.mask(torch.float32)[:, 0] == 0
    number = 0
    for tree in trees:
        for branch in tree.branches:
            alone = [*tree.prompt, *branch]
            mine = (batch.branch == number).nonzero()[:, 0]
            assert batch.labels[mine].tolist() == list(branch)
            for place, at in enumerate(mine.tolist()):
                row, source = int(batch.row[at]), int(batch.source[at])
                # What the state that predicts this token has read, in order, and where it believes to be.
                read = seen[row, source].nonzero()[:, 0]
                expected = alone[: len(tree.prompt) + place]
                assert batch.input_ids[row, read].tolist() == expected
                assert batch.positions[row, read].tolist() == list(range(len(expected)))
            number += 1
    assert len(batch.labels) == sum(len(branch) for tree in trees for branch in tree.branches)
    assert int((batch.tree >= 0).sum()) == sum(map(len, trees))
