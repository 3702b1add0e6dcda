"""Which facts are deleted, moved and called difficult."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knowtuning.core.records import Facts, FactScore
from knowtuning.knowledge.aspects import Perturbation, delete_facts, revised_places, shuffle_facts
from knowtuning.knowledge.rewrite import difficult_facts
from knowtuning.knowledge.shares import ceil_share, floor_share

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
    assert (floor_share(share, count), ceil_share(share, count)) == (floor, ceil)


@given(FACTS, st.integers(1, 100), SEEDS)
def test_revised_facts_are_the_stated_share(facts, percent, seed) -> None:
    record = Facts(id="r", question="Q?", answer="A.", facts=facts)
    places = revised_places(record, Perturbation(seed, 0.5, percent / 100))
    assert len(places) == ceil_share(percent / 100, len(facts)) >= 1
    assert places == sorted(set(places))
    assert places == revised_places(record, Perturbation(seed, 0.1, percent / 100))


@given(FACTS, PERCENT, SEEDS)
def test_deletion_keeps_the_order_and_deletes_the_stated_number(facts, beta, seed) -> None:
    left = delete_facts(facts, beta, seed=seed, record_id="r")
    wanted = int(Fraction(round(beta * 100), 100) * len(facts))
    assert len(facts) - len(left) == min(max(wanted, 1), len(facts) - 1)
    assert left == [fact for fact in facts if fact in left]


@given(FACTS, SEEDS)
def test_shuffling_is_a_permutation_but_never_the_identity(facts, seed) -> None:
    shuffled = shuffle_facts(facts, seed=seed, record_id="r")
    assert sorted(shuffled) == sorted(facts)
    assert shuffled != facts


def test_shuffling_reaches_every_other_order() -> None:
    orders = {tuple(shuffle_facts("abc", seed=0, record_id=str(index))) for index in range(200)}
    # 3! = 6 orders less the identity; each of the five is missed by 200 draws with p = 0.8^200 < 1e-19.
    assert len(orders) == 5


def test_deletion_reaches_every_fact() -> None:
    left = {tuple(delete_facts("abcd", 0.25, seed=0, record_id=str(index))) for index in range(200)}
    assert len(left) == 4


@given(st.lists(st.sampled_from([1.5, 2.0, 7.25]), min_size=1, max_size=12), PERCENT)
def test_difficult_facts_are_the_most_perplexing_in_answer_order(ppls, alpha) -> None:
    facts = [FactScore(text=str(i), logps=-1.0, tokens=1, ppl=ppl) for i, ppl in enumerate(ppls)]
    chosen = [int(text) for text in difficult_facts(facts, alpha)]
    share = Fraction(round(alpha * 100), 100) * len(ppls)
    assert len(chosen) == -(-share.numerator // share.denominator)
    assert chosen == sorted(chosen)
    # No fact left out precedes a chosen one in (perplexity descending, position ascending).
    left_out = [(-ppls[i], i) for i in range(len(ppls)) if i not in chosen]
    assert all((-ppls[i], i) < key for i in chosen for key in left_out)
