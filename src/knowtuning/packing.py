"""Model input without padding: completions share their prompt, short inputs share a row, rows their opening.

A tree is a prompt with the completions that branch off it: the facts of a question, or the chosen and the
rejected answer. A row holds one tree or several, one behind the other, after the tokens that all prompts open
with (a template's instruction). A completion sees the opening, its prompt and itself (a block mask), and
positions restart with each tree and at each branch, so that the model computes for every completion what it
would compute for `prompt completion` alone, while a prompt is processed once, and an opening once a row. The
last token of a completion predicts nothing and has no cell.

Who sees what is said by a mask over each row, or where attention can be computed piece by piece
(knowtuning.attention) by pieces: then a single row holds all trees, without padding and with one opening.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from itertools import chain
from typing import TYPE_CHECKING, Any

from knowtuning.batching import bucket

if TYPE_CHECKING:
    import torch

# The mask and the attention scores grow with the square of a row, so facts are spread over trees of this size
# (tokens) unless a single fact is longer.
TREE_TOKENS = 2048
# Widths of rows that are tried: up to this many longest trees; so many numbers of rows; for each number the
# least width that could do and a little more, since trees do not divide.
_WIDEST, _NUMBERS, _SLACK = 3, 8, (1.0, 1.01, 1.02, 1.03, 1.05, 1.08, 1.12)
# The mark of the cells that open a row, where others have the number of their tree.
_OPENING = -2
# What another group of pieces costs, in the pairs of tokens that padding may add instead.
_GROUP = 2**15
# Buckets (knowtuning.batching) of the cells of a row, and of the sizes of groups, which vary more: there new
# sizes cost more than padding, while steps have at most so many tokens.
_CELLS, _SIZES, _STEP = 32, 4, 64


@dataclass(frozen=True)
class Tree:
    """Token ids of a prompt (at least one) and of completions that share it (each at least one)."""

    prompt: tuple[int, ...]
    branches: tuple[tuple[int, ...], ...]

    def __len__(self) -> int:
        return len(self.prompt) + sum(map(len, self.branches))

    @property
    def cells(self) -> int:
        """Tokens that a model reads: all but the last of each completion, which predicts nothing."""
        return len(self) - len(self.branches)

    @property
    def longest(self) -> int:
        """Length of the prompt with the longest completion: the context that the model needs (tokens)."""
        return len(self.prompt) + max(map(len, self.branches))


def split_trees(
    prompt: Sequence[int], branches: Sequence[Sequence[int]], limit: int = TREE_TOKENS
) -> Iterator[Tree]:
    """Trees of at most `limit` tokens that hold all branches, in order; one that is too long stands alone."""
    pending: list[tuple[int, ...]] = []
    for branch in branches:
        if pending and len(prompt) + sum(map(len, pending)) + len(branch) > limit:
            yield Tree(tuple(prompt), tuple(pending))
            pending = []
        pending.append(tuple(branch))
    if pending:
        yield Tree(tuple(prompt), tuple(pending))


def common(prompts: Sequence[Sequence[int]]) -> int:
    """How many tokens all of `prompts` (at least one) open with."""
    # What the first and the last in order open with, those between them do too.
    first, last = min(map(tuple, prompts)), max(map(tuple, prompts))
    pairs = enumerate(zip(first, last, strict=False))
    return next((place for place, (one, other) in pairs if one != other), len(first))


def passes(trees: Sequence[Tree], budget: int) -> Iterator[list[int]]:
    """Indices of trees that run together: neighbours in length, of about `budget` tokens; 0: each tree alone.

    The opening of all prompts counts once, although each row of a pass repeats it, and padding not at all.
    """
    opening = common([tree.prompt for tree in trees]) if trees else 0
    batch: list[int] = []
    size = opening
    for index in sorted(range(len(trees)), key=lambda index: (len(trees[index]), index)):
        own = trees[index].cells - opening
        if batch and size + own > budget:
            yield batch
            batch, size = [], opening
        batch.append(index)
        size += own
    if batch:
        yield batch


def fill(lengths: Sequence[int], width: int) -> list[list[int]]:
    """Indices of all lengths in rows of at most `width`: the longest first, each to the fullest it fits."""
    rows: list[list[int]] = []
    used: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda index: (-lengths[index], index)):
        fits = [row for row in range(len(rows)) if used[row] + lengths[index] <= width]
        if fits:
            row = max(fits, key=lambda row: (used[row], -row))
        else:
            row = len(rows)
            rows.append([])
            used.append(0)
        rows[row].append(index)
        used[row] += lengths[index]
    return rows


def packed(lengths: Sequence[int], hidden: int, opening: int = 0) -> list[list[int]]:
    """The rows, of all widths tried, that cost a model of that hidden size least.

    lengths: of the trees without the `opening` tokens that each row has before them. A token costs its matrix
    products, about 26 · hidden² operations a layer, and 4 · width · hidden for attention over its whole row:
    in proportion 1 + width / (6.5 · hidden).
    """

    def cost(rows: list[list[int]]) -> float:
        width = opening + max(sum(lengths[index] for index in row) for row in rows)
        return len(rows) * width * (1 + width / (6.5 * hidden))

    # For rows that could be of any width, repeating an opening and attending to more cost the same here.
    widest = max(1, _WIDEST * max(lengths), 2 * math.isqrt(math.ceil(6.5 * hidden * opening)))
    narrow = fill(lengths, max(lengths))
    widths = dict.fromkeys(_wider(lengths, len(narrow) - 1, widest))
    return min((narrow, *(fill(lengths, width) for width in widths)), key=cost)


def _wider(lengths: Sequence[int], most: int, widest: int) -> Iterator[int]:
    """Widths worth trying for at most that many rows, none narrower than the longest length."""
    longest, total = max(lengths), sum(lengths)
    least = max(1, -(-total // widest))
    step = max(1, -(-(most - least + 1) // _NUMBERS))
    for rows in range(most, least - 1, -step):
        for slack in _SLACK:
            yield max(longest, math.ceil(slack * total / rows))


@dataclass(frozen=True)
class Layout:
    """Rows of trees, by index, each behind the first `opening` tokens of their prompts, padded to `width`.

    pieces: whether the one row there is says by pieces who sees what; even: whether groups of pieces are
    padded to few sizes.
    """

    rows: tuple[tuple[int, ...], ...]
    opening: int
    width: int
    pieces: bool = False
    even: bool = False

    @staticmethod
    def of(trees: Sequence[Tree], rows: Sequence[Sequence[int]], opening: int) -> Layout:
        """The layout of given rows."""
        width = opening + max(sum(trees[index].cells - opening for index in row) for row in rows)
        return Layout(tuple(map(tuple, rows)), opening, width)

    @staticmethod
    def single(trees: Sequence[Tree], *, even: bool = False) -> Layout:
        """All trees in one row of pieces, padded to one of few widths."""
        opening = common([tree.prompt for tree in trees])
        found = Layout.of(trees, [range(len(trees))], opening)
        return replace(found, width=bucket(found.width, _CELLS), pieces=True, even=even)

    @property
    def tokens(self) -> int:
        """Tokens that a model processes, padding included."""
        return len(self.rows) * self.width


def arrange(trees: Sequence[Tree], hidden: int) -> Layout:
    """The layout that costs a model of that hidden size least."""
    opening = common([tree.prompt for tree in trees]) if len(trees) > 1 else 0
    return Layout.of(trees, packed([tree.cells - opening for tree in trees], hidden, opening), opening)


@dataclass(frozen=True)
class Piece:
    """Neighbouring cells of a row, `own`, that see each other causally and all of `context` before."""

    context: tuple[int, ...]
    own: range

    def __len__(self) -> int:
        return len(self.own)

    @property
    def pairs(self) -> int:
        """Pairs of cells whose scores are computed."""
        return len(self) * (len(self.context) + len(self))


def pieces_of(trees: Sequence[Tree], opening: int) -> Iterator[Piece]:
    """The pieces of a row of all trees: its opening, each prompt with its first completion, each other one.

    They hold every cell once.
    """
    head = tuple(range(opening))
    start = opening
    if head:
        yield Piece((), range(opening))
    for tree in trees:
        stem = start + len(tree.prompt) - opening
        prompt = (*head, *range(start, stem))
        context, end = head, stem
        for branch in tree.branches:
            end += len(branch) - 1
            if end > start:
                yield Piece(context, range(start, end))
            context, start = prompt, end


@dataclass(frozen=True)
class Group:
    """Pieces that are computed together: `count` of them, each of `context` and `own` cells, with padding."""

    pieces: tuple[Piece, ...]
    count: int
    context: int
    own: int

    @staticmethod
    def of(pieces: Sequence[Piece], *, even: bool) -> Group:
        """The least group that holds `pieces`; even: of the sizes that few groups have."""
        context, own = max(len(piece.context) for piece in pieces), max(map(len, pieces))
        sizes = len(pieces), context, own
        count, context, own = map(_even, sizes) if even else sizes
        return Group(tuple(pieces), count, context, own)


def _even(size: int) -> int:
    """The least of few sizes that holds `size`."""
    return min(bucket(size, _SIZES), -(-size // _STEP) * _STEP)


def grouped(pieces: Iterable[Piece]) -> list[list[Piece]]:
    """Pieces of like size together; a group ends where padding would cost more than another group."""
    groups: list[list[Piece]] = []
    pairs = context = 0
    for piece in sorted(pieces, key=lambda piece: (-len(piece), -len(piece.context), piece.own.start)):
        pairs, context = pairs + piece.pairs, max(context, len(piece.context))
        longest = len(groups[-1][0]) if groups else 0
        if groups and (len(groups[-1]) + 1) * longest * (context + longest) <= pairs + _GROUP:
            groups[-1].append(piece)
        else:
            groups.append([piece])
            pairs, context = piece.pairs, len(piece.context)
    return groups


def bare(prompt: Sequence[int]) -> Tree:
    """A prompt to be read alone: with a completion of one token, which has no cell, behind its last one."""
    return Tree(tuple(prompt), ((0,),))


def prompt_cells(trees: Sequence[Tree], layout: Layout) -> list[list[int]]:
    """Of each tree the cells of its prompt, counted through all rows."""
    found: list[list[int]] = [[] for _ in trees]
    for number, row in enumerate(layout.rows):
        first = number * layout.width
        place = first + layout.opening
        for index in row:
            own = len(trees[index].prompt) - layout.opening
            found[index] = [*range(first, first + layout.opening), *range(place, place + own)]
            place += trees[index].cells - layout.opening
    return found


@dataclass(frozen=True)
class Batch:
    """Trees as tensors of b rows padded to t tokens, with n completion tokens in all.

    input_ids, positions, tree, part: (b, t); tree is -1 at padding and -2 in the opening of a row, part 0 in
    the opening and in the prompt and 1, 2, … in the completions of a tree. row, source: (n,), where the
    hidden state lies that predicts each completion token. labels: (n,), that token. branch: (n,), the
    completion it belongs to, counted over all trees in the order they were given.

    The rest says by pieces who sees what, and is empty where a mask does. groups: (g, 3), the number of
    pieces (the last may be empty), the length of their contexts (padded on the left) and their own (padded on
    the right). queries and keys: the cells of all pieces, and those of their contexts and pieces, group by
    group; contexts: (pieces,), the true lengths; slots: (t,), where each cell is among the queries.
    """

    input_ids: torch.Tensor
    positions: torch.Tensor
    tree: torch.Tensor
    part: torch.Tensor
    row: torch.Tensor
    source: torch.Tensor
    labels: torch.Tensor
    branch: torch.Tensor
    groups: torch.Tensor
    queries: torch.Tensor
    keys: torch.Tensor
    contexts: torch.Tensor
    slots: torch.Tensor

    def to(self, device: Any) -> Batch:
        """The same on a device."""
        return Batch(**{name: value.to(device) for name, value in self.tensors().items()})

    def tensors(self) -> dict[str, torch.Tensor]:
        """Its fields by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def mask(self, dtype: torch.dtype) -> torch.Tensor:
        """(b, 1, t, t), added to attention scores: 0 where seen, the most negative number elsewhere.

        Padding sees padding, so that no row of it is all masked.
        """
        import torch

        length = self.tree.shape[1]
        same = (self.tree[:, :, None] == self.tree[:, None, :]) | (self.tree == _OPENING)[:, None, :]
        own = (self.part[:, :, None] == self.part[:, None, :]) | (self.part == 0)[:, None, :]
        causal = torch.ones(length, length, dtype=torch.bool, device=self.tree.device).tril()
        mask = torch.zeros(len(self.tree), 1, length, length, dtype=dtype, device=self.tree.device)
        return mask.masked_fill(~(same & own & causal)[:, None], torch.finfo(dtype).min)


def lay_out(trees: Sequence[Tree], layout: Layout) -> Batch:
    """Trees as a batch: the trees of a row behind its opening and behind each other, padded on the right."""
    import torch

    opening = layout.opening
    ids: list[int] = []
    positions: list[int] = []
    tree_of: list[int] = []
    part_of: list[int] = []
    # Of each tree, in the order they were given, the row and the cell that predicts each completion token.
    rows: list[list[int]] = [[] for _ in trees]
    sources: list[list[int]] = [[] for _ in trees]

    def add(tokens: Sequence[int], position: int, tree: int, part: int) -> None:
        ids.extend(tokens)
        positions.extend(range(position, position + len(tokens)))
        tree_of.extend([tree] * len(tokens))
        part_of.extend([part] * len(tokens))

    for number, row in enumerate(layout.rows):
        first = number * layout.width
        add(trees[row[0]].prompt[:opening], 0, _OPENING, 0)
        for index in row:
            tree = trees[index]
            add(tree.prompt[opening:], opening, index, 0)
            stem = len(ids) - first - 1 if len(tree.prompt) > opening else opening - 1
            for part, branch in enumerate(tree.branches, 1):
                place = len(ids) - first
                sources[index] += [stem, *range(place, place + len(branch) - 1)]
                rows[index] += [number] * len(branch)
                add(branch[:-1], len(tree.prompt), index, part)
        padding = first + layout.width - len(ids)
        ids.extend([0] * padding)
        positions.extend([0] * padding)
        tree_of.extend([-1] * padding)
        part_of.extend([0] * padding)
    grid = torch.tensor([ids, positions, tree_of, part_of]).view(4, len(layout.rows), layout.width)
    branches = [branch for tree in trees for branch in tree.branches]
    predicted = [
        [*chain.from_iterable(rows)],
        [*chain.from_iterable(sources)],
        [*chain.from_iterable(branches)],
        [number for number, branch in enumerate(branches) for _ in branch],
    ]
    pieces = grouped(pieces_of(trees, opening)) if layout.pieces else []
    groups = [Group.of(group, even=layout.even) for group in pieces]
    return Batch(*grid, *torch.tensor(predicted), **_groups(groups, layout.width))


def _groups(groups: Sequence[Group], cells: int) -> dict[str, torch.Tensor]:
    """The fields of a batch that say who sees what; padding is some cell, which is masked or not read."""
    import torch

    queries: list[int] = []
    keys: list[int] = []
    contexts: list[int] = []
    slots = [0] * cells if groups else []
    for group in groups:
        for piece in group.pieces:
            for place, cell in enumerate(piece.own):
                slots[cell] = len(queries) + place
            own = [*piece.own, *[0] * (group.own - len(piece))]
            queries += own
            keys += [*[0] * (group.context - len(piece.context)), *piece.context, *own]
            contexts.append(len(piece.context))
        empty = group.count - len(group.pieces)
        queries += [0] * (empty * group.own)
        keys += [0] * (empty * (group.context + group.own))
        contexts += [0] * empty
    found = {
        "groups": [[group.count, group.context, group.own] for group in groups],
        "queries": queries,
        "keys": keys,
        "contexts": contexts,
        "slots": slots,
    }
    return {name: torch.tensor(values, dtype=torch.long) for name, values in found.items()}
