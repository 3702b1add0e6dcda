"""Properties of the steps from examples to splits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knowtuning.core.records import Example
from knowtuning.data.normalise import fold, question_id
from knowtuning.data.splits import (
    SourceRow,
    Split,
    apply_limit,
    check_ids,
    draw,
    drop_duplicates,
    drop_leaked,
)

# Few letters, so that questions often collide, in case and white space too.
QUESTIONS = st.lists(st.text("aAb ", min_size=1, max_size=4), min_size=1, max_size=30)


def split(questions: list[str], name: str = "train") -> Split:
    rows = [
        SourceRow(
            f"{name} row {number}", Example(id=question_id(question), question=question, answer=f"{number}")
        )
        for number, question in enumerate(questions, 1)
    ]
    return Split(name, len(rows), rows, [])


def forms(part: Split) -> list[str]:
    return [fold(row.example.question) for row in part.rows]


@given(QUESTIONS)
def test_the_first_of_equal_questions_is_kept(questions: list[str]) -> None:
    clean = drop_duplicates(split(questions))
    clean.check()
    assert forms(clean) == list(dict.fromkeys(map(fold, questions)))
    assert [row for row in split(questions).rows if row in clean.rows] == clean.rows
    assert drop_duplicates(clean) == clean
    check_ids(clean)


@given(QUESTIONS, QUESTIONS, QUESTIONS)
def test_no_question_of_an_evaluation_split_stays_in_train(a: list[str], b: list[str], c: list[str]) -> None:
    valid, test = split(b, "valid"), split(c, "test")
    clean = drop_leaked(split(a), [valid, test])
    clean.check()
    held_out = {*forms(valid), *forms(test)}
    assert forms(clean) == [form for form in map(fold, a) if form not in held_out]


@given(st.integers(2, 40), st.integers(0, 5), st.integers(0, 3), st.data())
def test_one_more_row_moves_at_most_one_other(rows: int, count: int, seed: int, data: st.DataObject) -> None:
    count = min(count, rows - 1)
    position = data.draw(st.integers(0, rows))
    questions = [f"q{number}" for number in range(rows)]
    rest, held = draw(split(questions), "test", count, seed=seed)
    more_rest, more_held = draw(
        split([*questions[:position], "new", *questions[position:]]), "test", count, seed=seed
    )
    rest.check()
    held.check()
    assert len(held.rows) == len(more_held.rows) == count
    assert sorted(forms(rest) + forms(held)) == sorted(questions)
    assert len(set(forms(held)) - set(forms(more_held))) <= 1
    # Every record itself is unchanged: its id comes from its question and not from its place.
    ids = {row.example.question: row.example.id for part in (rest, held) for row in part.rows}
    more = {row.example.question: row.example.id for part in (more_rest, more_held) for row in part.rows}
    assert ids.items() <= more.items()


def test_draw_depends_on_seed_and_not_on_order() -> None:
    questions = [f"q{number}" for number in range(50)]
    first = draw(split(questions), "test", 10, seed=1)[1]
    assert set(forms(draw(split(questions[::-1]), "test", 10, seed=1)[1])) == set(forms(first))
    assert set(forms(draw(split(questions), "test", 10, seed=2)[1])) != set(forms(first))
    assert set(forms(draw(split(questions), "valid", 10, seed=1)[1])) != set(forms(first))


def test_draw_leaves_train_a_row() -> None:
    with pytest.raises(ValueError, match=r"prepare\.split\.test is 3; expected less than the 3 usable rows"):
        draw(split(["a", "b", "c"]), "test", 3, seed=0)


def test_limit_is_nested_and_counted() -> None:
    whole = split([f"q{number}" for number in range(20)])
    eight, five = (apply_limit(whole, limit, seed=3) for limit in (8, 5))
    eight.check()
    assert (len(eight.rows), eight.limited) == (8, 12)
    # The five of lowest hash are among the eight of lowest hash, and rows keep their order.
    assert set(forms(five)) < set(forms(eight))
    assert [row for row in whole.rows if row in eight.rows] == eight.rows
    assert apply_limit(whole, None, seed=3) == apply_limit(whole, 20, seed=3) == whole


def test_one_id_twice_names_both_rows() -> None:
    rows = [SourceRow(f"f.csv line {n}", Example(id="7", question=f"q{n}", answer="a")) for n in (2, 9)]
    with pytest.raises(ValueError, match=r"f\.csv line 9: the id '7' is also that of f\.csv line 2"):
        check_ids(Split("train", 2, rows, []))
