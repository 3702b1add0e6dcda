"""The marks of two readers behind docs/data-quality.md."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

from benchmarks.data_quality import SIZES

MARKS = Path(__file__).parents[2] / "benchmarks/data_quality.csv"


def test_the_marks_are_of_one_whole_sample_and_hold_no_text() -> None:
    with MARKS.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len({row["item"] for row in rows}) == len(rows)
    assert Counter(row["item"].split()[0] for row in rows) == {kind: 2 * size for kind, size in SIZES.items()}
    # The second reader comes after the first.
    assert {row["a"] for row in rows} == {"0", "1"}
    assert {row["b"] for row in rows} in ({"0", "1"}, {""})
    assert {len(row["item"].split()) for row in rows} <= {2, 3}
