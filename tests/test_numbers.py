"""Texts compared by their numbers, and revisions that are none."""

from __future__ import annotations

import pytest

from knowtuning.core.numbers import entailed, same
from knowtuning.teacher.tasks import FactList, Revise

SAME = [
    ("It has 1,000 wells.", "it has 1000 wells"),
    ("It has two wells.", "It has 2 wells."),
    ("50 % of it", "50 percent of it"),
    ("fifty per cent of it", "50% of it"),
    ("2.50 metres", "2.5 metres"),
    ("twenty-one ships", "21 ships"),
    ("3 million people", "3,000,000 people"),
]
OTHER = [
    ("at −5 °C", "at 5 °C"),
    ("1.5 metres", "15 metres"),
    ("values < 5", "values > 5"),
    ("two wells", "three wells"),
    ("5 to 10", "5 to 11"),
]


@pytest.mark.parametrize(("first", "second"), SAME)
def test_another_notation_is_the_same(first: str, second: str) -> None:
    assert same(first, second)
    assert entailed(first, second)
    assert entailed(second, first)


@pytest.mark.parametrize(("first", "second"), OTHER)
def test_another_value_is_not(first: str, second: str) -> None:
    assert not same(first, second)
    assert not entailed(first, second)


@pytest.mark.parametrize(
    ("original", "revised", "follows"),
    [
        ("At least 3 doors", "at least two doors", True),
        ("At least 3 doors", "at least 4 doors", False),
        ("At most 3 doors", "at most 4 doors", True),
        ("At most 3 doors", "at most 2 doors", False),
        ("no more than 3 doors", "no more than 4 doors", True),
        ("no more than 3 doors", "no more than 2 doors", False),
        ("more than 3 doors", "more than 2 doors", True),
        ("3 doors", "2 doors", False),
    ],
)
def test_a_looser_bound_follows(original: str, revised: str, follows: bool) -> None:
    assert entailed(original, revised) is follows


def test_a_revision_in_another_notation_is_refused_with_its_record() -> None:
    task = Revise(id="q7", question="Q?", facts=("It has 1,000 wells.", "It is old."))
    with pytest.raises(
        ValueError, match=r"revised fact 1 of q7 is no revision: 'It has 1000 wells\.' follows"
    ):
        task.accept(FactList(facts=["It has 1000 wells.", "It is new."]))
    task.accept(FactList(facts=["It has 1,000 wells!", "It is new."]))
    with pytest.raises(ValueError, match="every revised fact equals its original"):
        task.accept(FactList(facts=["It has 1,000 wells", "it is old."]))
