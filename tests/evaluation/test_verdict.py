"""The line that says whether the method beat the baseline."""

from __future__ import annotations

from knowtuning.evaluation.pairwise import CONTROLLED, Contest
from knowtuning.evaluation.stats import Estimate
from knowtuning.evaluation.verdict import verdict


def estimate(value: float, low: float, high: float) -> Estimate:
    return Estimate(value, low, high, 100)


CLEAR, OPEN, WORSE = estimate(1.0, 0.5, 1.5), estimate(0.1, -0.2, 0.4), estimate(-1.0, -1.5, -0.5)


def contest(aspect: str, controlled: Estimate, a: str = "kc") -> Contest:
    return Contest(a, "sft", aspect, 100, 100, 0, {CONTROLLED: controlled}, 0.5, 0.5)


def test_better_and_worse_follow_direction_and_interval() -> None:
    found = verdict(
        # More incorrect facts are worse, fewer better; words have no direction; an interval may hold 0.
        {
            "correct": CLEAR,
            "incorrect": CLEAR,
            "order": OPEN,
            "duplicate": WORSE,
            "words": CLEAR,
            # Won by length alone: better as it is, worse when cut.
            "rougeL": CLEAR,
            "rougeL_equal_length": WORSE,
            "meteor_equal_length": CLEAR,
        },
        [contest("completeness", WORSE), contest("logicality", OPEN), contest("factuality", CLEAR, a="ka")],
    )
    assert found.line == (
        "kc is better than sft in correct facts, repeated facts and ROUGE-L, worse in incorrect facts; at "
        "equal length better in METEOR, worse in ROUGE-L and judged completeness."
    )
    assert found.warnings == []


def test_a_method_that_wins_nothing_is_a_warning_and_so_is_a_rise() -> None:
    found = verdict({"order": OPEN, "truncated": estimate(5.0, -1.0, 11.0), "repeated": CLEAR}, [])
    # No interval leaves out 0 for the better; of the rises one is below three points.
    assert found.line == "kc is better than sft in nothing, worse in repeated, in runs of four words."
    assert found.warnings == [
        "kc is not shown to be better than sft in anything",
        "kc has 5.0 points more cut off at the token limit than sft",
    ]
    told = found.metrics()
    assert (told["line"], told["better"], told["equal_length"]) == (found.line, "nothing", {})
    assert list(told["warnings"].values()) == found.warnings
