"""Kappas against worked examples, verdicts and rates by hand."""

from __future__ import annotations

import numpy as np
import pytest

from knowtuning.evaluation.stats import Resampling
from knowtuning.human.agreement import (
    category_counts,
    cohen_kappa,
    fleiss_kappa,
    judge_agrees,
    people_agree,
    summarise,
)
from knowtuning.human.items import KeyItem, Side
from knowtuning.human.verdicts import Case, Choice, Outcome, Vote, join, majority

HOW = Resampling(seed=2, resamples=1000)
# Fleiss (1971), table 1: 30 patients, 6 psychiatrists, 5 diagnoses. Published kappa 0.430.
FLEISS_1971 = """
    00060 03003 01401 00006 03030 20400 00402 20310 20040 00006
    10050 11040 03300 10050 02031 00501 30012 51000 02040 10203
    00006 01050 02013 20040 10041 05010 40002 02040 10500 00006
"""


def test_fleiss_kappa_of_the_paper() -> None:
    counts = np.array([[int(digit) for digit in row] for row in FLEISS_1971.split()])
    # The paper's shares of the five diagnoses: 26, 26, 30, 55 and 43 of 180.
    assert counts.sum(axis=0).tolist() == [26, 26, 30, 55, 43]
    assert fleiss_kappa(counts) == pytest.approx(0.430, abs=5e-4)
    # statsmodels.stats.inter_rater.fleiss_kappa gives the same to the last digit.
    assert fleiss_kappa(counts) == pytest.approx(0.43024452006014074, abs=1e-14)


def test_fleiss_kappa_degenerate() -> None:
    assert fleiss_kappa(category_counts([["win", "win"], ["tie", "tie"]])) == 1.0
    assert fleiss_kappa(category_counts([["win", "win"], ["win", "win"]])) is None


def test_cohen_kappa_by_hand() -> None:
    # 50 units: both yes 20, first alone 5, second alone 10, both no 15. Agreement 35/50 = 0.7; by chance
    # 25/50 * 30/50 + 25/50 * 20/50 = 0.5; kappa (0.7 - 0.5) / 0.5 = 0.4.
    first = ["win"] * 25 + ["lose"] * 25
    second = ["win"] * 20 + ["lose"] * 5 + ["win"] * 10 + ["lose"] * 15
    assert cohen_kappa(first, second) == pytest.approx(0.4)
    assert cohen_kappa(["win"], ["win"]) is None
    assert cohen_kappa([], []) is None


def test_majority() -> None:
    assert majority(["win", "win", "lose"]) == "win"
    assert majority(["win", "lose"]) == "tie"
    assert majority(["win", "win", "lose", "lose", "tie"]) == "tie"


def key_of(question: str, *, equal: bool = False, orders: str = "ab") -> dict[str, KeyItem]:
    """The items of a question for kc against sft; their ids end in the side shown first."""
    sides: list[Side] = ["a", "b"] if orders == "ab" else ["a"]
    made = [
        KeyItem(id=f"{question}{s}", question=question, a="kc", b="sft", first=s, equal=equal) for s in sides
    ]
    return {item.id: item for item in made}


def votes(annotator: str, **choices: Choice) -> list[Vote]:
    return [Vote(annotator, item, "factuality", choice) for item, choice in choices.items()]


def test_orders_are_joined_and_half_a_verdict_is_none() -> None:
    key = key_of("p") | key_of("q") | key_of("r") | key_of("s", equal=True, orders="a")
    inputs = votes("ann", pa="first", pb="second", qa="first", qb="first", ra="tie")
    result = join(inputs, key, ["factuality"])
    # p: kc first and chosen, then kc second and chosen: a win. q: always the first: a tie. r: one order.
    p, q = (Case(name, "kc", "sft", "factuality") for name in "pq")
    assert result.outcomes == {p: {"ann": "win"}, q: {"ann": "tie"}}
    assert result.half == 1
    assert result.orders == {"ann": (2, 1)}
    # Four preferences, three of them for the first.
    assert result.firsts == {"ann": (4, 3)}
    assert result.consensus()[Case("s", "kc", "sft", "factuality")] == "tie"


def test_a_vote_counted_twice_would_pass_for_both_orders() -> None:
    # The same sheet again, or a second one of that name, which says something else.
    for again in (votes("ann", pa="first"), votes("ann", pa="tie")):
        with pytest.raises(ValueError, match="ann has 2 votes on pa in factuality; expected one"):
            join([*votes("ann", pa="first"), *again], key_of("p"), ["factuality"])


def verdicts_of(table: dict[str, dict[str, Outcome]]) -> tuple[list[Vote], dict[str, KeyItem]]:
    """Votes in one order that give these verdicts: question -> annotator -> outcome."""
    choices: dict[Outcome, Choice] = {"win": "first", "lose": "second", "tie": "tie"}
    key: dict[str, KeyItem] = {}
    result = []
    for question, row in table.items():
        key |= key_of(question, orders="a")
        for annotator, outcome in row.items():
            result.append(Vote(annotator, f"{question}a", "factuality", choices[outcome]))
    return result, key


def test_three_people_and_a_judge() -> None:
    table: dict[str, dict[str, Outcome]] = {
        "p": {"x": "win", "y": "win", "z": "win"},
        "q": {"x": "win", "y": "win", "z": "lose"},
        "r": {"x": "lose", "y": "tie", "z": "win"},
        "s": {"x": "lose", "y": "lose"},
    }
    inputs, key = verdicts_of(table)
    result = join(inputs, key, ["factuality"])
    # p, q, r have three ratings, s two: it is left out. Agreeing pairs: 3/3, 1/3, 0/3: mean 4/9. Shares:
    # win 6/9, lose 2/9, tie 1/9, so chance is (36 + 4 + 1) / 81 = 41/81; kappa (36 - 41) / (81 - 41) = -1/8.
    assert people_agree(result) == {
        "factuality": {"cases": 3, "left_out": 1, "raters": 3, "agree": 44.4444, "fleiss_kappa": -0.125}
    }
    # Majorities: p win, q win, r tie, s lose. The judge saw r the other way round, and could not judge s.
    output = [("p", "kc", "sft", "win"), ("q", "kc", "sft", "tie"), ("r", "sft", "kc", "lose")]
    rows = [{"question": q, "a": a, "b": b, "aspect": "factuality", "outcome": o} for q, a, b, o in output]
    rows.append({"question": "s", "a": "kc", "b": "sft", "aspect": "factuality", "outcome": "unjudged"})
    # People win win tie, judge win tie win: 1 of 3. Chance: win 2/3 * 2/3 + tie 1/3 * 1/3 = 5/9; kappa
    # (3/9 - 5/9) / (4/9) = -0.5.
    assert judge_agrees(result, rows) == {
        "factuality": {"cases": 3, "unjudged": 1, "agree": 33.3333, "cohen_kappa": -0.5}
    }
    whole = summarise(result, rows, HOW, cases=5)
    assert (whole["answered"], whole["unanswered"], whole["annotators"]) == (4, 1, 3)
    rates = whole["pairs"]["kc-sft"]["factuality"]
    # Of p, q, r, s: two wins, a tie, a loss.
    assert [rates[name] for name in ("n", "win", "tie", "lose", "net")] == [4, 50.0, 25.0, 25.0, 25.0]
    assert rates["net_low"] < 25 < rates["net_high"]


def test_two_people_get_cohens_kappa_and_one_none() -> None:
    table: dict[str, dict[str, Outcome]] = {
        f"q{i}": {"x": x, "y": y}
        for i, (x, y) in enumerate([("win", "win"), ("win", "lose"), ("lose", "lose"), ("lose", "lose")])
    }
    inputs, key = verdicts_of(table)
    # Agreement 3/4; chance 2/4 * 1/4 + 2/4 * 3/4 = 1/2; kappa 1/2.
    result = people_agree(join(inputs, key, ["factuality"]))["factuality"]
    assert (result["agree"], result["cohen_kappa"]) == (75.0, 0.5)
    alone = [vote for vote in inputs if vote.annotator == "x"]
    assert people_agree(join(alone, key, ["factuality"])) == {}
