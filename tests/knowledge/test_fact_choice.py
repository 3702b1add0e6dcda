"""Which facts are deleted, moved and called difficult."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knowtuning.core.numbers import exact_share
from knowtuning.core.records import Facts
from knowtuning.knowledge.aspects import (
    ASPECTS,
    Perturbation,
    deleted_indices,
    revised_indices,
    shuffled_indices,
)
from knowtuning.knowledge.rewrite import SELECTIONS, check_recall, selected_facts
from knowtuning.teacher.tasks import Failure
from tests.support.records import scored_facts

SEEDS = st.integers(0, 2**31)
FACTS = st.integers(2, 40).map(lambda count: [f"fact {index}" for index in range(count)])
PERCENT = st.integers(0, 100).map(lambda percent: percent / 100)


@pytest.mark.parametrize(
    ("share", "count", "floor", "ceil"),
    [
        (0.1, 30, 3, 3),  # in floats 0.1 * 30 = 3.0000000000000004, whose ceiling is 4
        (0.29, 100, 29, 29),  # in floats 28.999999999999996, whose floor is 28
        (0.5, 5, 2, 3),
        (0.0, 9, 0, 0),
        (1.0, 9, 9, 9),
        (1e-05, 10, 0, 1),
    ],
)
def test_shares_are_those_of_the_decimal_number(share: float, count: int, floor: int, ceil: int) -> None:
    assert (math.floor(exact_share(share, count)), math.ceil(exact_share(share, count))) == (floor, ceil)


@given(FACTS, st.integers(1, 100), SEEDS)
def test_revised_facts_are_the_stated_share(facts, percent, seed) -> None:
    record = Facts(id="r", question="Q?", answer="A.", facts=facts)
    places = revised_indices(record, Perturbation(seed, 0.5, percent / 100))
    assert len(places) == math.ceil(exact_share(percent / 100, len(facts))) >= 1
    assert places == sorted(set(places))
    assert places == revised_indices(record, Perturbation(seed, 0.1, percent / 100))


@st.composite
def dependences(draw: st.DrawFn) -> list[int | None]:
    """For each of some facts an earlier one that it leans on, or None."""
    size = draw(st.integers(2, 20))
    return [None, *(draw(st.none() | st.integers(0, number - 1)) for number in range(1, size))]


@given(dependences(), PERCENT, SEEDS)
def test_deletion_takes_the_stated_number_and_leaves_nothing_that_leans_on_what_is_gone(
    depends, beta, seed
) -> None:
    gone = deleted_indices(depends, beta, seed=seed, record_id="r")
    wanted = int(Fraction(round(beta * 100), 100) * len(depends))
    assert len(gone) == len(set(gone)) == min(max(wanted, 1), len(depends) - 1)
    assert gone == sorted(gone)
    assert 0 not in gone
    assert all(number in gone for number, before in enumerate(depends) if before in gone)


@given(dependences(), SEEDS)
def test_shuffling_moves_blocks_and_never_leaves_their_order(depends, seed) -> None:
    order = shuffled_indices(depends, seed=seed, record_id="r")
    if depends.count(None) == 1:
        # All lean on the first, so there is one block.
        assert order is None
        return
    assert sorted(order) == list(range(len(depends)))
    heads = [number for number in order if depends[number] is None]
    assert heads != sorted(heads)
    for number, before in enumerate(depends):
        if before is not None:
            # Behind what it leans on, and no other block between the two.
            between = order[order.index(before) + 1 : order.index(number)]
            assert order.index(before) < order.index(number)
            assert all(depends[each] is not None for each in between)


def test_shuffling_reaches_every_other_order() -> None:
    orders = {tuple(shuffled_indices([None] * 3, seed=0, record_id=str(index))) for index in range(200)}
    # 3! = 6 orders less the identity; each of the five is missed by 200 draws with p = 0.8^200 < 1e-19.
    assert len(orders) == 5


def test_shuffling_turns_two_links_or_nothing() -> None:
    """Facts 0 and 1 must stand before 2; 3 leans on 2, so that what links these two is never turned."""
    depends, links = [None, None, None, 2], [(0, 2), (1, 2), (2, 3)]
    orders = {
        tuple(shuffled_indices(depends, seed=0, record_id=str(index), links=links) or ())
        for index in range(60)
    }
    # Blocks 0, 1 and (2, 3): only with 2 before both others are two links turned; 60 draws miss one of two
    # orders with p = 2^-59.
    assert orders == {(2, 3, 0, 1), (2, 3, 1, 0)}
    assert shuffled_indices(depends, seed=0, record_id="r", links=links[1:]) is None
    record = Facts(id="r", question="q", answer="a", facts=["A.", "B.", "C."])
    left_out = ASPECTS["logicality"].reject(record, Perturbation(0, 0.5, links=lambda facts: []), None)
    assert isinstance(left_out, Failure)
    assert left_out.expected
    untold = ASPECTS["logicality"].reject(record, Perturbation(0, 0.5, links=lambda facts: None), None)
    assert untold == ASPECTS["logicality"].reject(record, Perturbation(0, 0.5), None)


def test_deletion_reaches_every_fact_but_the_first() -> None:
    gone = {tuple(deleted_indices([None] * 4, 0.25, seed=0, record_id=str(index))) for index in range(200)}
    assert gone == {(1,), (2,), (3,)}


def test_a_fact_that_would_take_too_much_along_waits() -> None:
    # floor(0.5 * 3) = 1 fact goes; the second would take the third along, so it is always the third.
    for index in range(20):
        assert deleted_indices([None, None, 1], 0.5, seed=0, record_id=str(index)) == [2]


@given(st.lists(st.sampled_from([1.5, 2.0, 7.25]), min_size=1, max_size=12), PERCENT)
def test_the_hardest_facts_are_the_most_perplexing_in_answer_order(ppls, alpha) -> None:
    chosen = [int(text) for text in selected_facts(scored_facts("r", ppls), alpha)]
    share = Fraction(round(alpha * 100), 100) * len(ppls)
    assert len(chosen) == -(-share.numerator // share.denominator)
    assert chosen == sorted(chosen)
    # No fact left out precedes a chosen one in (perplexity descending, position ascending).
    left_out = [(-ppls[i], i) for i in range(len(ppls)) if i not in chosen]
    assert all((-ppls[i], i) < key for i in chosen for key in left_out)
    # As many at random, in answer order too.
    drawn = [int(text) for text in selected_facts(scored_facts("r", ppls), alpha, "random", 1)]
    assert len(drawn) == len(chosen)
    assert drawn == sorted(set(drawn))


def test_random_facts_depend_on_seed_and_record_and_every_choice_is_possible() -> None:
    def drawn(seed: int, name: str) -> tuple[str, ...]:
        return tuple(selected_facts(scored_facts(name, [1.5, 2.0, 7.25]), 0.3, "random", seed))

    # ceil(0.3 * 3) = 1 of three; one that is never drawn in 100 records has p = (2/3)^100 < 1e-17.
    assert {drawn(1, str(i)) for i in range(100)} == {("0",), ("1",), ("2",)}
    assert drawn(1, "r") == drawn(1, "r")
    assert len({drawn(seed, "r") for seed in range(100)}) == 3


def test_the_hardest_recalled_facts_leave_out_what_the_base_model_does_not_recall() -> None:
    # Of five facts ceil(0.4 * 5) = 2: 0 is hardest but unknown, 3 could not be cued; of the others 4 and 2.
    record = scored_facts("r", [9.0, 1.0, 3.0, 8.0, 5.0], [False, True, True, None, True])
    assert selected_facts(record, 0.4, "hard_recalled") == ["2", "4"]
    assert selected_facts(record, 1.0, "hard_recalled") == ["1", "2", "4"]
    check_recall([record], "hard_recalled")


def test_recalled_facts_cannot_be_selected_where_nothing_tests_recall() -> None:
    untested = [scored_facts("r", [1.0, 2.0])]
    with pytest.raises(ValueError, match=r"^params\.yaml: rewrite\.select is 'hard_recalled', and score has"):
        check_recall(untested, "hard_recalled")
    for select in SELECTIONS.keys() - {"hard_recalled"}:
        check_recall(untested, select)
