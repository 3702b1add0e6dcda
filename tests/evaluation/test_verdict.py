"""The line that says whether the method beat the baseline."""

from __future__ import annotations

from knowtuning.evaluation.stats import Estimate
from knowtuning.evaluation.verdict import verdict


def estimate(value: float, low: float, high: float) -> Estimate:
    return Estimate(value, low, high, 100)


CLEAR, OPEN, WORSE = estimate(1.0, 0.5, 1.5), estimate(0.1, -0.2, 0.4), estimate(-1.0, -1.5, -0.5)


def test_better_and_worse_follow_direction_and_interval() -> None:
    outcome = verdict(
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
        {"completeness": WORSE, "logicality": OPEN},
    )
    assert outcome.line == (
        "kc is better than sft in correct facts, repeated facts and ROUGE-L, worse in incorrect facts; at "
        "equal length better in METEOR, worse in ROUGE-L and judged completeness."
    )
    assert outcome.warnings == []


def test_a_method_that_wins_nothing_is_a_warning_and_so_is_a_rise() -> None:
    outcome = verdict({"order": OPEN, "truncated": estimate(5.0, -1.0, 11.0), "repeated": CLEAR}, {})
    # No interval leaves out 0 for the better; of the rises one is below three points.
    assert outcome.line == "kc is better than sft in nothing, worse in repeated (in runs of four words)."
    assert outcome.warnings == [
        "kc is not shown to be better than sft in anything",
        "kc has 5.0 points more cut off at the token limit than sft; perturb.fill: repeat and "
        "train_kc.counted: differing teach answers to end",
    ]
    both = verdict({"truncated": estimate(5.0, -1.0, 11.0), "repeated": estimate(3.1, 2.0, 4.0)}, {})
    assert both.warnings[1].startswith(
        "kc has 5.0 points more cut off at the token limit and 3.1 points more repeated than sft; perturb"
    )
    metrics = outcome.metrics()
    assert (metrics["line"], metrics["better"], metrics["equal_length"]) == (outcome.line, "nothing", {})
    assert list(metrics["warnings"].values()) == outcome.warnings


def test_an_interval_over_five_questions_shows_nothing() -> None:
    """Five that all lean one way do so by chance in 2 of 32 runs, six in 2 of 64."""
    five, six = (verdict({"correct": Estimate(1.0, 1.0, 1.0, n)}, {}).warnings for n in (5, 6))
    assert (five, six) == (["an interval over 5 questions shows nothing; expected 6 or more"], [])
