"""Bootstrap intervals: hand-derived values, pairing, undefined entries, pooling, coverage."""

import math
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import ArrayLike

from knowtuning.core.records import Example
from knowtuning.evaluation.stats import (
    Estimate,
    Ratios,
    Resampling,
    bootstrap_p,
    estimates,
    holm,
    length,
    pool,
    unit_of,
)

HOW = Resampling(seed=1)


def mean_interval(values: ArrayLike, how: Resampling, purpose: str = "mean") -> Estimate:
    return estimates(Ratios.of_means(values), how, purpose)[0]


def test_mean_of_two_values_has_the_binomial_interval() -> None:
    # A resample of (0, 10) has mean 0 with probability 1/4, 5 with 1/2 and 10 with 1/4: the 2.5 and
    # 97.5 percentiles are 0 and 10. At confidence 0.4 the tails are 0.3 > 1/4: both percentiles are 5.
    wide = mean_interval([0.0, 10.0], HOW)
    assert (wide.value, wide.low, wide.high, wide.n) == (5.0, 0.0, 10.0, 2)
    narrow = mean_interval([0.0, 10.0], Resampling(seed=1, confidence=0.4))
    assert (narrow.low, narrow.high) == (5.0, 5.0)


def test_a_number_has_the_same_digits_wherever_it_is_shown() -> None:
    # 2.29502 is 2.30 in two decimals, and 2.295, as files hold it, 2.29.
    exact, stored = mean_interval([2.29502], HOW), mean_interval([2.29502], HOW).flat("mean")["mean"]
    assert f"{exact.value:.2f}" == f"{stored:.2f}" == "2.29"


def test_interval_of_a_rate_is_the_binomial_one() -> None:
    # 200 questions, 50 %: the resampled number of wins is Binomial(200, 1/2), whose 2.5 and 97.5
    # percentiles are 86 and 114 (scipy.stats.binom.ppf), so 43 and 57 %: the +-6.9 points of a 200-row
    # test set on its grid of half a point.
    result = mean_interval([0.0, 100.0] * 100, HOW)
    assert (result.value, result.low, result.high) == (50.0, 43.0, 57.0)


def test_undefined_values_leave_the_mean_and_its_count() -> None:
    result = mean_interval([2.0, math.nan, 4.0, math.nan], HOW)
    assert (result.value, result.n) == (3.0, 2)
    nothing = mean_interval([math.nan, math.nan], HOW)
    assert nothing.n == 0
    assert math.isnan(nothing.value)
    assert math.isnan(nothing.low)


def test_resamples_without_a_defined_value_do_not_count() -> None:
    # One defined value of two: a quarter of the resamples miss it; all others have mean 7.
    result = mean_interval([7.0, math.nan], HOW)
    assert (result.low, result.high) == (7.0, 7.0)


def test_difference_is_paired() -> None:
    # b = a - 1 on every question: the difference is 1 in every resample of runs and questions.
    a = [np.random.default_rng(seed).normal(size=50) * 100 for seed in range(3)]
    result = pool(a, HOW, against=[run - 1 for run in a])
    assert (result.value, result.low, result.high, result.n) == pytest.approx((1.0, 1.0, 1.0, 150))
    assert result.excludes_zero
    same = pool(a, HOW, against=a)
    assert (same.value, same.low, same.high, same.excludes_zero) == (0.0, 0.0, 0.0, False)


def test_difference_with_entries_undefined_on_one_side() -> None:
    # mean(a) = (1 + 5) / 2 = 3, mean(b) = (2 + 2 + 2) / 3 = 2; two questions are defined on both sides.
    result = pool([[1.0, math.nan, 5.0]], HOW, against=[[2.0, 2.0, 2.0]])
    assert (result.value, result.n) == (1.0, 2)


def test_ratio_of_sums_weighs_by_denominator() -> None:
    # (1 + 9) / (1 + 19) = 0.5, while the mean of the ratios 1/1 and 9/19 is 0.737. Resamples: both 1/1:
    # 1; both 9/19: 0.474; each probability 1/4, beyond the 2.5 % tails.
    result = estimates(Ratios.of_sums([1, 9], [1, 19]), HOW)[0]
    assert (result.value, result.low, result.high) == pytest.approx((0.5, 9 / 19, 1.0), abs=5e-5)


def test_statistics_do_not_depend_on_their_neighbours_or_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(3).normal(size=(40, 3))
    together = estimates(Ratios.of_means(values), HOW)
    alone = mean_interval(values[:, 1], HOW)
    assert (together[1].low, together[1].high) == pytest.approx((alone.low, alone.high))
    monkeypatch.setattr("knowtuning.evaluation.stats._BLOCK", 40 * 64)
    blocked = estimates(Ratios.of_means(values), HOW)
    assert [e.low for e in blocked] == pytest.approx([e.low for e in together])


def test_questions_of_a_unit_are_drawn_together() -> None:
    # Said three times a value is no more certain than once, but rests on three questions.
    once = mean_interval([0.0, 1.0], HOW)
    thrice = mean_interval([0.0, 1.0] * 3, replace(HOW, units=["y", "x"] * 3))
    assert thrice == replace(once, n=6)
    # A larger unit weighs more: y twice is 0, x and y 2 of 3, x twice 1, each beyond a 2.5 % tail.
    one = mean_interval([0.0, 1.0, 1.0], replace(HOW, units=["y", "x", "x"]))
    assert (one.value, one.low, one.high) == (0.6667, 0.0, 1.0)
    # Units of one question each are the questions.
    assert mean_interval([0.0, 1.0, 5.0], replace(HOW, units=["c", "a", "b"])) == mean_interval(
        [0.0, 1.0, 5.0], HOW
    )
    assert replace(HOW, units=["c", "a", "b"]).at([2, 0]).units == ["b", "c"]
    with pytest.raises(ValueError):  # noqa: PT011 (NumPy's)
        mean_interval([0.0, 1.0, 5.0], replace(HOW, units=["c", "a"]))


@pytest.mark.parametrize(
    ("meta", "unit"),
    [
        ({"entity": "Aford", "kind": "general"}, "aford"),
        ({"focus": "Breast  Cancer", "type": "information"}, "breast cancer"),
        ({"focus": ""}, "q-1"),
        ({}, "q-1"),
    ],
)
def test_the_unit_of_a_question_is_its_subject_or_itself(meta: dict[str, str], unit: str) -> None:
    assert unit_of(Example(id="q-1", question="?", answer=".", meta=meta)) == unit


def test_no_values_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least one question"):
        mean_interval([], HOW)


def test_pool_takes_runs_as_a_second_source_of_variance() -> None:
    # Constant runs 0, 0, 3: questions add nothing, and the pooled mean of three drawn runs is the
    # number of threes drawn, Binomial(3, 1/3): P(0) = 8/27 and P(3) = 1/27 exceed the 2.5 % tails.
    result = pool([[0.0] * 5, [0.0] * 7, [3.0] * 4], HOW)
    assert (result.value, result.low, result.high, result.n) == (1.0, 0.0, 3.0, 16)


def test_pool_of_one_run_is_its_bootstrap_with_units_and_without() -> None:
    values = np.random.default_rng(4).normal(size=30)
    units = [str(i // 3) for i in range(30)]
    plain = estimates(Ratios.of_means(values), HOW, "pool/0")[0]
    by_unit = estimates(Ratios.of_means(values), replace(HOW, units=units), "pool/0")[0]
    assert (pool([values], HOW), pool([values], HOW, units=[units])) == (plain, by_unit)
    assert plain != by_unit


@pytest.mark.slow
def test_interval_covers_the_truth_95_times_in_100() -> None:
    # 2,000 experiments of 200 questions: a paired difference whose true mean is 0.3, of skewed values.
    # The count of hits at a true 95 % has a standard error of sqrt(.95 * .05 / 2000) = 0.5 points, so
    # 93 to 97 % is +-4 standard errors.
    random = np.random.default_rng(11)
    hits = 0
    for trial in range(2000):
        ability = random.exponential(size=200)
        a = ability + 0.3 + random.normal(size=200)
        b = ability + random.exponential(size=200) - 1
        result = pool([a], Resampling(seed=trial, resamples=1000), against=[b])
        hits += result.low <= 0.3 <= result.high
    assert 0.93 <= hits / 2000 <= 0.97


def test_p_is_twice_the_smaller_side() -> None:
    # One draw of four at or below 0: 2 * (1 + 1) / (4 + 1).
    assert bootstrap_p([3.0, -1.0, 2.0, 1.0, math.nan]) == pytest.approx(0.8)
    # A draw at 0 is on both sides: 2 * (2 + 1) / (4 + 1) > 1.
    assert bootstrap_p([3.0, -1.0, 0.0, 1.0]) == 1.0
    # Never 0: with 9,999 draws above it the smallest p there is, 2 / 10,000.
    assert bootstrap_p(np.ones(9_999)) == pytest.approx(0.0002)
    assert math.isnan(bootstrap_p([math.nan, math.nan]))


def test_p_agrees_with_the_exact_sign_distribution() -> None:
    # Eight questions, six of +1 and two of -1, so a resample's sum is 2 * Binomial(8, 3/4) - 8:
    # P(sum <= 0) = P(Binomial <= 4) = 0.11382 (scipy.stats.binom.cdf(4, 8, 0.75)), twice that 0.2276; its
    # standard error over 100,000 draws is 2 * sqrt(.1138 * .8862 / 1e5) = 0.002.
    values = [1.0] * 6 + [-1.0] * 2
    how = Resampling(seed=1, resamples=100_000)
    draws = Ratios.of_means(values).draws(how, "p")
    assert bootstrap_p(draws[:, 0]) == pytest.approx(0.22764, abs=0.006)


def test_holm_by_hand() -> None:
    # Ascending 0.01, 0.03, 0.04 count 3, 2 and 1 times: 0.03, 0.06, 0.04, the last raised to 0.06. The same
    # as statsmodels' multipletests(..., method="holm").
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    # At most 1, and what was not tested does not count among the tests.
    assert holm([0.5, math.nan, 0.6])[0] == 1.0
    adjusted = holm([0.02, math.nan, 0.01])
    assert adjusted[0] == pytest.approx(0.02)
    assert math.isnan(adjusted[1])
    assert adjusted[2] == pytest.approx(0.02)
    assert holm([]) == []


@pytest.mark.slow
def test_net_rates_without_a_difference_are_rejected_5_times_in_100() -> None:
    # 2,000 experiments of 200 questions that are won, tied and lost with 0.3, 0.4 and 0.3: the true net
    # rate is 0. Standard error of 5 % over 2,000 trials: 0.5 points; 3 to 7 % is +-4 of them.
    random = np.random.default_rng(12)
    covered = rejected = 0
    for trial in range(2000):
        values = random.choice([100.0, 0.0, -100.0], size=200, p=[0.3, 0.4, 0.3])
        how = Resampling(seed=trial, resamples=1000)
        draws = Ratios.of_means(values).draws(how, "net")
        low, high = how.bounds(draws)
        covered += low[0] <= 0 <= high[0]
        rejected += bootstrap_p(draws[:, 0]) < 0.05
    assert 0.93 <= covered / 2000 <= 0.97
    assert 0.03 <= rejected / 2000 <= 0.07


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Tin isn't dear, 5.5 % at most.", 7),
        ("", 0),
        ("光合作用是过程。", 7),  # seven characters and a full stop
        ("北京 is the capital (中国).", 7),  # 2 + 3 + 2
        ("서울은 수도 이다.", 3),  # Korean puts spaces between words
    ],
)
def test_a_length_is_words_or_where_no_spaces_are_characters(text: str, words: int) -> None:
    assert length(text) == words
