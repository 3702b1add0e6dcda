"""AUROC of perplexity and its histogram."""

import numpy as np
import pytest

from knowtuning.core.records import ScoredFacts
from knowtuning.evaluation.perplexity import auroc_draws, auroc_metrics, calibration, histogram
from knowtuning.evaluation.stats import Resampling
from tests.support.records import scored_facts

HOW = Resampling(seed=5)


def scored(name: str, *facts: tuple[float, bool | None]) -> ScoredFacts:
    ppls, recalled = zip(*facts, strict=True)
    return scored_facts(name, ppls, recalled)


def test_auroc_by_hand() -> None:
    # Not recalled: 5 and 2; recalled: 1, 2, 3. Of the 6 pairs 5 beats all three, 2 beats 1, ties with 2
    # (half) and loses to 3: 4.5 / 6.
    result = auroc_metrics(
        [scored("a", (5.0, False), (1.0, True), (2.0, True), (2.0, False), (3.0, True))], HOW
    )
    # One question: every resample is the same question.
    assert result == {
        "status": "computed",
        "auroc": 0.75,
        "low": 0.75,
        "high": 0.75,
        "facts": 5,
        "recalled": 3,
        "not_recalled": 2,
        "unknown": 0,
    }


def test_interval_resamples_questions_not_facts() -> None:
    # Question a has AUROC 1, question b 0; both together: not recalled 9, 1; recalled 2, 8: pairs won 2 of
    # 4 = 0.5. Resamples: a twice 1/4, b twice 1/4, both 1/2: bounds 0 and 1.
    result = auroc_metrics(
        [scored("a", (9.0, False), (2.0, True)), scored("b", (1.0, False), (8.0, True))], HOW
    )
    assert (result["auroc"], result["low"], result["high"]) == (0.5, 0.0, 1.0)


def test_questions_of_one_subject_are_drawn_together() -> None:
    # The questions above, both of one town: every resample is the town.
    records = [scored("a", (9.0, False), (2.0, True)), scored("b", (1.0, False), (8.0, True))]
    result = auroc_metrics(records, HOW, {"a": "aford", "b": "aford", "c": "brimm"})
    assert (result["auroc"], result["low"], result["high"]) == (0.5, 0.5, 0.5)


def test_draws_agree_with_scikit_learn_on_repeated_facts() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    random = np.random.default_rng(0)
    ppl = random.integers(1, 12, size=60).astype(float)
    hard, clusters = random.random(60) < 0.4, random.integers(0, 9, size=60)
    how = Resampling(seed=8, resamples=50)
    draws = auroc_draws(ppl, hard, clusters, how)
    drawn = how.generator("auroc").integers(9, size=(50, 9))
    for value, chosen in zip(draws, drawn, strict=True):
        facts = np.concatenate([np.flatnonzero(clusters == question) for question in chosen])
        assert value == pytest.approx(metrics.roc_auc_score(hard[facts], ppl[facts]))


@pytest.mark.parametrize(
    ("recalled", "status"),
    [
        (None, "not computed: no fact has a ground truth"),
        (True, "not computed: the base model recalls every fact"),
        (False, "not computed: the base model recalls no fact"),
    ],
)
def test_status_says_why_there_is_no_auroc(recalled: bool | None, status: str) -> None:
    result = auroc_metrics([scored("a", (2.0, recalled), (3.0, recalled))], HOW)
    assert result["status"] == status
    assert "auroc" not in result
    assert None not in result.values()


def test_histogram_counts_every_fact_once() -> None:
    # Logarithmic bins from 1 to 16 in two: [1, 4), [4, 16]; middles 2 and 8.
    records = [scored("a", (1.0, True), (2.0, False), (16.0, False)), scored("b", (4.0, None))]
    assert histogram(records, bins=2) == [
        {"bin": 2.0, "low": 1.0, "high": 4.0, "group": "recalled", "count": 1},
        {"bin": 8.0, "low": 4.0, "high": 16.0, "group": "recalled", "count": 0},
        {"bin": 2.0, "low": 1.0, "high": 4.0, "group": "not recalled", "count": 1},
        {"bin": 8.0, "low": 4.0, "high": 16.0, "group": "not recalled", "count": 1},
        {"bin": 2.0, "low": 1.0, "high": 4.0, "group": "unknown", "count": 0},
        {"bin": 8.0, "low": 4.0, "high": 16.0, "group": "unknown", "count": 1},
    ]


def test_histogram_of_equal_perplexities_and_of_nothing() -> None:
    rows = histogram([scored("a", (3.0, None), (3.0, None))], bins=4)
    assert [row["count"] for row in rows] == [2, 0, 0, 0]
    assert histogram([]) == []


def test_calibration_bins_by_rank_and_keeps_ties_together() -> None:
    # Ranked: 1 2 2 2 3 4, in thirds of two facts. The upper edges are 2, 2 and 4: the first two thirds end at
    # the same value, so the four facts up to 2 are one bin, and 3 and 4 the other.
    facts = [(1.0, True), (2.0, True), (2.0, False), (2.0, True), (3.0, False), (4.0, False), (9.0, None)]
    result = calibration([scored("a", *facts)], confidence=0.95, bins=3)
    assert [(r["low"], r["high"], r["facts"], r["not_recalled"], r["percent"]) for r in result] == [
        (1.0, 2.0, 4, 1, 25.0),
        (3.0, 4.0, 2, 2, 100.0),
    ]
    # Wilson for 2 of 2: the lower end is 1 / (1 + z²/2) = 1 / (1 + 3.8415 / 2) = 0.34238.
    assert (result[1]["percent_low"], result[1]["percent_high"]) == (34.238, 100.0)
    assert calibration([scored("a", (2.0, None))], confidence=0.95) == []
