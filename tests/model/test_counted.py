"""Which tokens of a pair count: by hand, and what holds for all."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from knowtuning.training.counted import COUNTED
from knowtuning.training.trainer import collate_pairs

END = 9
TOKENS = st.lists(st.integers(0, 8), max_size=12)


def test_by_hand() -> None:
    # Facts 1 2 | 3 4 | 5 6, of which the rejected side lacks the second.
    chosen, rejected = [1, 2, 3, 4, 5, 6, END], [1, 2, 5, 6, END]
    assert COUNTED["all"](chosen, rejected, END) == ([1] * 7, [1] * 5)
    assert COUNTED["but_end"](chosen, rejected, END) == ([1, 1, 1, 1, 1, 1, 0], [1, 1, 1, 1, 0])
    assert COUNTED["differing"](chosen, rejected, END) == ([0, 0, 1, 1, 0, 0, 0], [0] * 5)
    assert COUNTED["shared_length"](chosen, rejected, END) == ([1, 1, 1, 1, 1, 0.5, 0.5], [1] * 5)
    # The second fact is false.
    false = [1, 2, 3, 7, 5, 6, END]
    assert COUNTED["differing"](chosen, false, END) == ([0, 0, 0, 1, 0, 0, 0], [0, 0, 0, 1, 0, 0, 0])
    # Cut off: there is no end to leave out.
    assert COUNTED["but_end"]([1, 2], [1, END, 4], END) == ([1, 1], [1, 0, 0])


@pytest.mark.parametrize("name", COUNTED)
@given(chosen=TOKENS, rejected=TOKENS)
def test_weights_are_shares_one_a_token(name: str, chosen: list[int], rejected: list[int]) -> None:
    sides = [*chosen, END], [*rejected, END]
    weights = COUNTED[name](*sides, END)
    assert [len(side) for side in weights] == [len(side) for side in sides]
    assert all(0 <= weight <= 1 for side in weights for weight in side)


@given(chosen=TOKENS, rejected=TOKENS)
def test_what_does_not_differ_is_the_same_on_both_sides(chosen: list[int], rejected: list[int]) -> None:
    sides = [*chosen, END], [*rejected, END]
    kept = [
        [token for token, weight in zip(side, weights, strict=True) if not weight]
        for side, weights in zip(sides, COUNTED["differing"](*sides, END), strict=True)
    ]
    assert kept[0] == kept[1]
    assert kept[0][-1] == END


def test_weights_stand_below_their_tokens() -> None:
    row: dict[str, Any] = {"prompt": [5, 6], "chosen": [1, 2, END], "rejected": [1, END]}
    row |= {"chosen_weights": [0.0, 1.0, 0.5], "rejected_weights": [1.0, 0.25], "offset": 0.0}
    batch = collate_pairs([row], padding=0)
    assert batch["input_ids"].tolist() == [[5, 6, 1, 2, END], [5, 6, 1, END, 0]]
    assert torch.equal(batch["weights"], torch.tensor([[0, 0, 0, 1, 0.5], [0, 0, 1, 0.25, 0]]))
