"""Judgements of both orders and their rates, against numbers worked out by hand."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from knowtuning.core.records import Example, Judgement, write_jsonl
from knowtuning.evaluation.outputs import render_contests
from knowtuning.evaluation.pairwise import (
    contests,
    judge_metrics,
    net_at_equal_length,
    read_judgements,
    relative_length,
)
from knowtuning.evaluation.stats import Resampling
from knowtuning.knowledge.aspects import ASPECTS
from knowtuning.teacher.judging import Preferred
from knowtuning.teacher.tasks import Failure
from knowtuning.verification.judgements import EQUAL, Comparison, ExactJudge, judge_pairs
from knowtuning.verification.jury import check_unjudged
from knowtuning.world.verifier import Truth
from knowtuning.world.wording import NAMES, say

HOW = Resampling(seed=5)
TOWN = {name: f"The {name}" for name in NAMES}
TRUTH = Truth({"Aford": TOWN})
EXAMPLE = Example(id="q", question="?", answer=".", meta={"entity": "Aford", "attributes": list(NAMES)})


class Scripted:
    """Gives the verdicts it was told, in order, and keeps what it was asked."""

    def __init__(self, verdicts: Sequence[Preferred | Failure]) -> None:
        self.verdicts = verdicts
        self.asked: list[Comparison] = []

    def compare(self, comparisons: Sequence[Comparison]) -> Iterator[Preferred | Failure]:
        self.asked += comparisons
        yield from self.verdicts


LOST = Failure(reason="no reply")
# forward, backward -> outcome of a. Backward shows b first, so "second" there prefers a.
ORDERS: list[tuple[Preferred | Failure, Preferred | Failure, str]] = [
    ("first", "second", "win"),
    ("second", "first", "lose"),
    ("tie", "tie", "tie"),
    ("first", "first", "tie"),  # prefers whatever comes first
    ("second", "second", "tie"),
    ("first", "tie", "tie"),
    (LOST, "second", "unjudged"),
    ("first", LOST, "unjudged"),
]


def examples(count: int) -> list[Example]:
    return [Example(id=f"q{i}", question=f"{i}?", answer="r") for i in range(count)]


def judged(orders: Sequence[tuple[Preferred | Failure, Preferred | Failure, str]]) -> list[Judgement]:
    """Judgements of kc against sft with these verdicts in every aspect."""
    verdicts = [v for forward, backward, _ in orders for _ in ASPECTS for v in (forward, backward)]
    texts = {"kc": [f"a{i}" for i in range(len(orders))], "sft": [f"b{i}" for i in range(len(orders))]}
    return judge_pairs(examples(len(orders)), texts, [("kc", "sft")], Scripted(verdicts))


def test_both_orders_must_agree() -> None:
    rows = judged(ORDERS)
    assert [row.outcome for row in rows if row.aspect == "factuality"] == [name for _, _, name in ORDERS]
    first = rows[0]
    assert first.id == "q0/kc-sft/completeness"
    assert (first.forward, first.backward, first.reason) == ("a", "a", None)
    lost = rows[6 * len(ASPECTS)]
    assert (lost.forward, lost.backward, lost.reason) == (None, "a", "forward: no reply")


def test_each_order_is_shown_once_and_equal_answers_never() -> None:
    judge = Scripted(["first", "second"] * 3)
    texts = {"kc": ["same  words", "one"], "sft": ["same words", "two"]}
    rows = judge_pairs(examples(2), texts, [("kc", "sft")], judge)
    assert [(c.first, c.second) for c in judge.asked] == [("one", "two"), ("two", "one")] * 3
    assert [c.aspect for c in judge.asked] == [aspect for aspect in ASPECTS for _ in range(2)]
    equal = rows[0]
    assert (equal.outcome, equal.forward, equal.backward, equal.reason) == ("tie", None, None, EQUAL)


def test_rates_by_hand() -> None:
    # ORDERS: 1 win, 1 loss, 4 ties, 2 unjudged of 8. net 0 of 6 judged. Both verdicts are there 6 times
    # and agree 3 times (win, loss, tie). Verdicts that prefer an answer, by what they prefer: "first" in
    # rows 1 (forward), 2 (backward), 4 (both), 6 and 8 = 6; "second" in rows 1, 2, 5 (both), 7 = 5.
    words = {"kc": [9] * 8, "sft": [7] * 4 + [9] * 4}
    result = contests(judged(ORDERS), words, HOW)
    assert [contest.aspect for contest in result] == list(ASPECTS)
    (leaf, *_) = judge_metrics(result)["kc-sft"].values()
    assert {k: v for k, v in leaf.items() if not k.endswith(("_low", "_high"))} == {
        "n": 8,
        "judged": 6,
        "equal": 0,
        "win": 12.5,
        "tie": 50.0,
        "lose": 12.5,
        "unjudged": 25.0,
        "net": 0.0,
        "swap_consistency": 50.0,
        "first_position_rate": round(100 * 6 / 11, 4),
        # Differences 2, 2, 2, 2, 0, 0, 0, 0: the outcomes of the judged with 0 are all ties.
        "net_length_controlled": 0.0,
        "length_difference": 1.0,
        "p": 1.0,
        "p_holm": 1.0,
    }


def test_aspects_share_their_resamples_and_are_adjusted_together() -> None:
    # 20 of 30 won, 10 tied, in completeness; all tied in the others: no resample has a net rate of 0 or
    # below, so p = 2 / 10,001, three times that when adjusted; the others never differ from 0.
    won: list[Judgement] = []
    for row in judged([("first", "second", "win")] * 20 + [("tie", "tie", "tie")] * 10):
        tied = row.model_copy(update={"forward": "tie", "backward": "tie", "outcome": "tie"})
        won.append(row if row.aspect == "completeness" else tied)
    completeness, factuality, _ = contests(won, {"kc": [5] * 30, "sft": [5] * 30}, HOW)
    assert completeness.p == pytest.approx(2 / 10_001)
    assert completeness.p_holm == pytest.approx(6 / 10_001)
    assert (factuality.p, factuality.p_holm) == (1.0, 1.0)
    # Equal lengths everywhere: there is nothing to control, also in every resample.
    net, controlled = (completeness.estimates[n] for n in ("net", "net_length_controlled"))
    assert controlled == net
    # The won count of a resample is Binomial(30, 2/3): its 2.5 and 97.5 percentiles are 15 and 25
    # (scipy.stats.binom.ppf), so 50 % and 83.3 %.
    assert (net.value, net.low, net.high) == pytest.approx((200 / 3, 50.0, 250 / 3))
    lines = render_contests([completeness, factuality], confidence=0.95).splitlines()
    assert lines[2].split() == [
        *("kc-sft", "completeness", "66.7", "33.3", "0.0", "0.0"),
        *("+66.7", "[+50.0,", "+83.3]*", "+66.7", "[+50.0,", "+83.3]"),
    ]
    assert "*" not in lines[3]


def test_pairs_without_any_verdict_have_counts_and_no_rates() -> None:
    result = contests(judged([(LOST, LOST, "unjudged")] * 3), {"kc": [1] * 3, "sft": [2] * 3}, HOW)
    leaf = judge_metrics(result)["kc-sft"]["logicality"]
    assert (leaf["n"], leaf["judged"], leaf["unjudged"]) == (3, 0, 100.0)
    assert not {"net", "p", "swap_consistency", "net_length_controlled"} & leaf.keys()
    row = render_contests(result, confidence=0.95).splitlines()[2].split()
    assert row[2:] == ["0.0", "0.0", "0.0", "100.0", "-", "-"]


def test_length_control_is_the_intercept_of_least_squares() -> None:
    random = np.random.default_rng(3)
    longer = random.normal(2, 5, size=200).round()
    outcome = random.choice([100.0, 0.0, -100.0], size=200)
    x = np.tanh(longer / longer.std())
    np.testing.assert_allclose(relative_length(longer), x)
    (intercept, _), *_ = np.linalg.lstsq(np.column_stack([np.ones(200), x]), outcome, rcond=None)
    moments = [np.array([m.mean()]) for m in (outcome, x, x * x, x * outcome)]
    assert net_at_equal_length(*moments)[0] == pytest.approx(intercept)


def test_a_judge_that_only_likes_length_nets_nothing_at_equal_length() -> None:
    # a wins where it is 5 words longer and loses where it is 5 shorter, 30 and 10 times: net
    # (30 - 10) / 40 = 50 %. At x = +-tanh(5 / sd) the outcome is +-100: a line through 0.
    rows = judged([("first", "second", "win")] * 30 + [("second", "first", "lose")] * 10)
    words = {"kc": [10] * 40, "sft": [5] * 30 + [15] * 10}
    net, controlled = (contests(rows, words, HOW)[0].estimates[n] for n in ("net", "net_length_controlled"))
    assert net.value == 50.0
    assert (controlled.value, controlled.low, controlled.high) == pytest.approx((0.0, 0.0, 0.0), abs=1e-9)


def test_one_length_difference_everywhere_tells_nothing_about_equal_length() -> None:
    result = contests(judged(ORDERS), {"kc": [9] * 8, "sft": [7] * 8}, HOW)
    assert "net_length_controlled" not in judge_metrics(result)["kc-sft"]["completeness"]


def stated(*facts: str, wrong: int = 0) -> str:
    true = [say(name, 0, "Aford", TOWN[name]) for name in facts]
    return " ".join(true + [say(name, 0, "Aford", "Nowhere") for name in NAMES[:wrong]])


@pytest.mark.parametrize(
    ("first", "second", "verdicts"),
    [
        # completeness, factuality, logicality. Canonical order: region, century, founder.
        (stated("region", "century"), stated("region"), ("first", "tie", "tie")),
        (stated("region", wrong=1), stated("region"), ("tie", "second", "tie")),
        (stated("century", "region"), stated("region", "century"), ("tie", "tie", "second")),
        # 2 of 3 pairs in order against 1 of 1.
        (stated("region", "founder", "century"), stated("region", "century"), ("first", "tie", "second")),
        # Nothing said: nothing wrong, and nothing to order.
        ("", stated("region", "century", wrong=1), ("second", "first", "tie")),
        (stated("region", "region"), stated("region"), ("tie", "tie", "tie")),
    ],
)
def test_the_exact_judge_compares_what_the_verifier_counts(
    first: str, second: str, verdicts: tuple[Preferred, ...]
) -> None:
    shown = [Comparison("q", EXAMPLE, aspect, first, second) for aspect in ASPECTS]
    assert tuple(ExactJudge(TRUTH).compare(shown)) == verdicts
    mirrored: dict[Preferred, Preferred] = {"first": "second", "second": "first", "tie": "tie"}
    one, other = TRUTH.verify(EXAMPLE, first), TRUTH.verify(EXAMPLE, second)
    for aspect, verdict in zip(ASPECTS, verdicts, strict=True):
        assert ASPECTS[aspect].prefer(other, one) == mirrored[verdict]


def test_too_many_unjudged_fail_and_say_where_to_look() -> None:
    rows = judged(ORDERS)
    check_unjudged([], rows, 0.25, folder=Path("data/verification"))
    with pytest.raises(ValueError, match=r"6 of 24 comparisons have no complete verdict, judge.max_unjudged"):
        check_unjudged([], rows, 0.2, folder=Path("data/verification"))


def test_judgements_come_back_in_the_order_of_the_questions(tmp_path: Path) -> None:
    # The file is sorted by "<question>/...", where "q-1/" comes before "q/".
    texts = {"ka": ["1", "2"], "sft": ["3", "4"], "kc": ["5", "6"]}
    asked = [Example(id=name, question="?", answer="r") for name in ("q", "q-1")]
    verdicts: list[Preferred | Failure] = ["tie"] * 24
    made = judge_pairs(asked, texts, [("ka", "sft"), ("kc", "sft")], Scripted(verdicts))
    path = tmp_path / "judgements.jsonl"
    write_jsonl(path, made)
    result = read_judgements(path, ["q", "q-1"])
    assert [row.question for row in result] == ["q"] * 6 + ["q-1"] * 6
    assert [(row.a, row.b) for row in result[:6]] == [("kc", "sft")] * 3 + [("ka", "sft")] * 3
    with pytest.raises(ValueError, match=r"judgements of other questions .*'q-1' is one.*run verify again"):
        read_judgements(path, ["q"])
