"""Records and files: round trips, order, rejected rows, and writes that are whole or absent."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knowtuning.core.params import read_yaml
from knowtuning.core.records import Example, Rejected, check_rejected, read_jsonl, rejected_path, write_jsonl
from knowtuning.core.storage import atomic_write, digest, digest_folder, read_json, record_rng, write_json
from knowtuning.replies import replies_of
from knowtuning.teacher.openai.prompts import Prompts
from knowtuning.teacher.tasks import Extract

texts = st.text(st.characters(codec="utf-8"), max_size=30)
examples = st.lists(
    st.builds(Example, id=texts, question=texts, answer=texts), unique_by=lambda e: e.id, max_size=8
)


@given(examples)
def test_jsonl_round_trips_sorted_by_id(
    tmp_path_factory: pytest.TempPathFactory, rows: list[Example]
) -> None:
    path = tmp_path_factory.mktemp("jsonl") / "x.jsonl"
    write_jsonl(path, reversed(rows))
    assert read_jsonl(path, Example) == sorted(rows, key=lambda row: row.id)
    first = path.read_bytes()
    write_jsonl(path, rows)
    assert path.read_bytes() == first


def test_a_bad_line_names_file_line_and_field(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text(
        '{"id": "a", "question": "q", "answer": "r"}\n{"id": "b", "question": 3, "answer": "r"}\n'
    )
    with pytest.raises(ValueError, match=r"x\.jsonl:2: question: .*; expected a Example record"):
        read_jsonl(path, Example)


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("params.yaml", read_yaml),
        ("metrics.json", read_json),
        ("train.jsonl", lambda path: read_jsonl(path, Example)),
        ("replies.jsonl", lambda path: list(replies_of(path))),
        ("extract.txt", lambda p: Prompts(p.parent).messages(Extract(id="a", question="Q?", answer="A"))),
    ],
)
def test_a_file_that_is_not_utf_8_is_named(tmp_path: Path, name: str, read: Callable[[Path], object]) -> None:
    path = tmp_path / name
    path.write_bytes("# für mich".encode("latin-1"))
    with pytest.raises(ValueError, match=rf"{re.escape(str(path))}: not .*invalid start byte"):
        read(path)


def test_double_ids_are_an_error(tmp_path: Path) -> None:
    row = Example(id="a", question="q", answer="r")
    with pytest.raises(ValueError, match="two records have the id 'a'"):
        write_jsonl(tmp_path / "x.jsonl", [row, row])


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    path.write_text("old")

    def fails_half_way() -> None:
        with atomic_write(path) as stream:
            stream.write("new")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fails_half_way()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_numbers_that_json_lacks_are_errors(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "x.json", {"a": float("nan")})
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(ValueError, match=r"bad\.json: not JSON"):
        read_json(tmp_path / "bad.json")


def test_rejected_rows_are_allowed_up_to_the_limit() -> None:
    path = rejected_path(Path("data/train.jsonl"))
    assert path == Path("data/train.rejected.jsonl")
    rows = [Rejected(id="b", reason="the answer is empty", raw=None), Rejected(id="c", reason="x", raw=None)]
    check_rejected(rows[:1], 100, 0.01, where=path, key="prepare.max_rejected")
    with pytest.raises(
        ValueError,
        match=r"2 of 100 rows were rejected, prepare\.max_rejected allows 0\.01 .*; "
        r"the first is b: the answer is empty",
    ):
        check_rejected(rows, 100, 0.01, where=path, key="prepare.max_rejected")


def test_random_draws_depend_on_the_record_alone() -> None:
    assert record_rng(1, "x", "a").random() == record_rng(1, "x", "a").random()
    draws = {record_rng(s, p, i).random() for s in (1, 2) for p in ("x", "y") for i in ("a", "b")}
    assert len(draws) == 8


def test_digests_are_fixed_and_see_names_and_bytes(tmp_path: Path) -> None:
    # printf '["a",1]' | sha256sum
    assert digest("a", 1) == "135f17a475a61afdeeaf3759ad2e45ad1c7abb192395abe47e41fc8e395dc1a9"
    (tmp_path / "a").write_text("1")
    before = digest_folder(tmp_path)
    (tmp_path / "a").rename(tmp_path / "b")
    assert digest_folder(tmp_path) != before
