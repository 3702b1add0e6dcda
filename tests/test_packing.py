"""Packed batches hold every token once, and each sees what it would see alone."""

from __future__ import annotations

import random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from knowtuning import packing
from knowtuning.batching import bucket
from knowtuning.packing import (
    Batch,
    Group,
    Layout,
    Piece,
    Tree,
    arrange,
    common,
    fill,
    grouped,
    lay_out,
    packed,
    passes,
    pieces_of,
    prompt_cells,
)

lengths = st.lists(st.integers(1, 50), min_size=1, max_size=40)
tokens = st.lists(st.integers(0, 99), min_size=1, max_size=5).map(tuple)
trees = st.lists(
    st.builds(Tree, prompt=tokens, branches=st.lists(tokens, min_size=1, max_size=3).map(tuple)),
    min_size=1,
    max_size=6,
)
openings = st.lists(st.integers(0, 99), max_size=4).map(tuple)


def opened(trees: list[Tree], opening: tuple[int, ...]) -> list[Tree]:
    return [Tree(opening + tree.prompt, tree.branches) for tree in trees]


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


def by_pieces(batch: Batch) -> torch.Tensor:
    """(1, t, t), what each cell sees by the pieces of a batch."""
    seen = torch.zeros(1, len(batch.slots), len(batch.slots), dtype=torch.bool)
    queries, keys, contexts = (tensor.tolist() for tensor in (batch.queries, batch.keys, batch.contexts))
    read = set(batch.slots.tolist())
    query, key = 0, 0
    for count, context, own in batch.groups.tolist():
        for _ in range(count):
            padding = context - contexts.pop(0)
            for place in range(own):
                if query + place in read:
                    mine = keys[key + padding : key + context + place + 1]
                    assert len(set(mine)) == len(mine)
                    seen[0, queries[query + place], mine] = True
            query, key = query + own, key + context + own
    return seen


@given(
    trees=trees,
    opening=openings,
    bare=st.booleans(),
    width=st.integers(20, 60),
    pieces=st.booleans(),
    even=st.booleans(),
)
def test_a_token_sees_its_prompt_and_its_own_completion_alone(
    trees: list[Tree], opening: tuple[int, ...], bare: bool, width: int, pieces: bool, even: bool
) -> None:
    trees = opened(trees, opening)
    if bare and opening:  # a prompt that is the opening itself
        trees.append(Tree(opening, trees[0].branches))
    shared = common([tree.prompt for tree in trees])
    rows = fill([tree.cells - shared for tree in trees], width)
    layout = Layout.single(trees, even=even) if pieces else Layout.of(trees, rows, shared)
    batch = lay_out(trees, layout)
    seen = by_pieces(batch) if pieces else batch.mask(torch.float32)[:, 0] == 0
    number = 0
    for tree, cells in zip(trees, prompt_cells(trees, layout), strict=True):
        assert batch.input_ids.flatten()[cells].tolist() == list(tree.prompt)
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
    assert tuple(batch.input_ids.shape) == (len(layout.rows), layout.width)
    # The opening stands once in each row, everything else once.
    own = sum(tree.cells - shared for tree in trees)
    assert int((batch.tree != -1).sum()) == own + shared * len(layout.rows)


@given(trees=trees, opening=openings)
def test_groups_of_pieces_hold_each_cell_once_with_bounded_padding(
    trees: list[Tree], opening: tuple[int, ...]
) -> None:
    trees = opened(trees, opening)
    layout = Layout.single(trees)
    pieces = list(pieces_of(trees, layout.opening))
    own = sum(tree.cells - layout.opening for tree in trees) + layout.opening
    assert sorted(cell for piece in pieces for cell in piece.own) == list(range(own))
    assert layout.width == bucket(own, 32)
    with pytest.MonkeyPatch.context() as patch:
        for bound in (0, 50, 2**15):
            patch.setattr(packing, "_GROUP", bound)
            groups = [Group.of(group, even=False) for group in grouped(pieces)]
            found = [piece for group in groups for piece in group.pieces]
            assert sorted(found, key=lambda piece: piece.own.start) == pieces
            for group in groups:
                assert group.count == len(group.pieces)
                assert group.context == max(len(piece.context) for piece in group.pieces)
                assert group.own == max(map(len, group.pieces))
                real = sum(len(piece) * (len(piece) + len(piece.context)) for piece in group.pieces)
                assert group.count * group.own * (group.own + group.context) <= real + bound
    assert len(groups) == 1  # all of them are short


def test_few_sizes_hold_all_sizes() -> None:
    for parts in (4, 32):
        sizes = [bucket(size, parts) for size in range(3000)]
        assert all(size <= found <= size * (1 + 1 / parts) for size, found in enumerate(sizes))
        assert sizes == sorted(sizes) == [bucket(size, parts) for size in sizes]
        assert len(set(sizes[1024:2049])) == parts + 1
    piece = Piece(tuple(range(1000)), range(1000, 1021))
    found = Group.of([piece] * 9, even=True)
    assert (found.count, found.context, found.own) == (10, 1024, 24)


@given(prompts=st.lists(tokens, min_size=1, max_size=6), opening=openings)
def test_what_prompts_have_in_common(prompts: list[tuple[int, ...]], opening: tuple[int, ...]) -> None:
    found = common([opening + prompt for prompt in prompts])
    assert found >= len(opening)
    heads = {(opening + prompt)[:found] for prompt in prompts}
    longer = [(opening + prompt)[: found + 1] for prompt in prompts]
    assert len(heads) == 1
    assert len(set(longer)) > 1 or min(map(len, longer)) == found or len(prompts) == 1


@given(trees=trees, opening=openings)
def test_an_arrangement_is_never_larger_than_a_row_for_each_tree(
    trees: list[Tree], opening: tuple[int, ...]
) -> None:
    trees = opened(trees, opening)
    layout = arrange(trees, hidden=128)
    assert sorted(index for row in layout.rows for index in row) == list(range(len(trees)))
    width = max(tree.cells for tree in trees)
    alone = len(trees) * width * (1 + width / (6.5 * 128))
    assert layout.tokens * (1 + layout.width / (6.5 * 128)) <= alone


def test_a_long_opening_is_repeated_seldom() -> None:
    # Alpaca's: 40 tokens before questions of 20 and answers of 60 on average, 2,560 in all. With rows of w
    # tokens beside the opening, (1 + 40 / w) (1 + (40 + w) / (6.5 hidden)) is least near w² = 260 hidden:
    # w = 182, 408 and 1,032, so 14, 6 and 3 rows.
    draw = random.Random(0)

    def words(low: int, high: int) -> tuple[int, ...]:
        return tuple(draw.randrange(1000) for _ in range(draw.randint(low, high)))

    opening = words(40, 40)
    trees = [Tree(opening + words(10, 30), (words(20, 100),)) for _ in range(32)]
    for hidden, rows in ((128, 14), (640, 6), (4096, 3)):
        layout = arrange(trees, hidden)
        assert layout.opening == len(opening)
        assert abs(len(layout.rows) - rows) <= 2
        assert layout.tokens <= 1.05 * (sum(tree.cells - 40 for tree in trees) + 40 * len(layout.rows))


@given(trees=trees, opening=openings, budget=st.integers(0, 60))
def test_passes_hold_every_tree_once_within_the_budget(
    trees: list[Tree], opening: tuple[int, ...], budget: int
) -> None:
    trees = opened(trees, opening)
    shared = common([tree.prompt for tree in trees])
    found = list(passes(trees, budget))
    assert sorted(index for part in found for index in part) == list(range(len(trees)))
    sizes = [shared + sum(trees[index].cells - shared for index in part) for part in found]
    assert all(size <= budget or len(part) == 1 for size, part in zip(sizes, found, strict=True))
    lengths = [len(trees[index]) for part in found for index in part]
    assert lengths == sorted(lengths)
