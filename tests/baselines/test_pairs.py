"""Pairs of the baselines, from scores and judgements made by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import pytest

from knowtuning.baselines import facttune, rlaif
from knowtuning.baselines.samples import as_predictions, best_samples, by_question, drawn, scored_pairs
from knowtuning.core.records import Example, Sample, Sentence, Verdict, Verified
from knowtuning.knowledge.aspects import CRITERIA, OVERALL
from knowtuning.teacher.judging import Preferred
from knowtuning.teacher.tasks import Failure
from knowtuning.verification.judgements import Comparison
from knowtuning.world.verifier import Verification
from tests.support.records import verification


def sample(number: int, answer: str, *, source: str = "q", truncated: bool = False) -> Sample:
    return Sample(
        id=f"{source}/{number:02}",
        source=source,
        number=number,
        question=f"{source}?",
        answer=answer,
        tokens=3,
        logps=-1.0,
        truncated=truncated,
    )


SAMPLES = [sample(number, answer) for number, answer in enumerate(["a", "b", "c", "d"])]


def test_every_two_samples_with_unequal_scores_make_a_pair_of_the_higher_one() -> None:
    """c has no score; a and d are equal: of the six pairs of four, a-b and d-b are left."""
    pairs = scored_pairs("fs", SAMPLES, {"q/00": 0.5, "q/01": 0.25, "q/03": 0.5}, most=45, seed=1)
    assert [(pair.id, pair.chosen, pair.rejected) for pair in pairs] == [
        ("q-0-1", "a", "b"),
        ("q-3-1", "d", "b"),
    ]
    assert {(pair.source, pair.aspect, pair.question) for pair in pairs} == {("q", "fs", "q?")}


def test_max_pairs_draws_by_seed_and_keeps_the_order() -> None:
    scores = {each.id: float(each.number) for each in SAMPLES}
    every = scored_pairs("fs", SAMPLES, scores, most=45, seed=1)
    assert len(every) == 6
    some = scored_pairs("fs", SAMPLES, scores, most=3, seed=1)
    assert len(some) == 3
    assert some == [pair for pair in every if pair in some]
    draws = {tuple(p.id for p in scored_pairs("fs", SAMPLES, scores, most=3, seed=s)) for s in range(9)}
    assert len(draws) > 1
    assert drawn(every, None, 1) == every


def test_questions_without_pairs_are_counted_and_cut_off_samples_make_none() -> None:
    samples = {
        "q": SAMPLES,
        "equal": [sample(0, "a", source="equal"), sample(1, "b", source="equal")],
        "cut": [sample(0, "a", source="cut"), sample(1, "b", source="cut", truncated=True)],
    }
    scores = {"q/00": 1.0, "q/01": 0.0, "equal/00": 0.5, "equal/01": 0.5, "cut/00": 0.5, "cut/01": 1.0}
    result = facttune.rank("fs", samples, scores, most=45, seed=1)
    assert [pair.id for pair in result.pairs] == ["q-0-1"]
    assert result.without == {"all_scores_equal": 1, "less_than_two_scored": 1}


def verified(number: int, verdicts: Sequence[Verdict], unscored: Sequence[str] = ()) -> Verified:
    """The verdicts on the facts of a sample."""
    sentences = [Sentence(text="x", verdict=verdict) for verdict in verdicts]
    system, lost = str(number), list(unscored)
    return Verified(
        id=f"q/{number}", question="q", system=system, scores={}, sentences=sentences, unscored=lost
    )


@pytest.mark.parametrize(
    ("verdicts", "unscored", "share"),
    [
        # An unverifiable fact is not supported, a true one said again is, as in FActScore: 3 of 5.
        (["correct", "incorrect", "unverifiable", "duplicate", "correct"], [], 0.6),
        (["unparsed", "correct"], [], 0.5),
        ([], [], None),
        (["unscored"], ["verify: no reply"], None),
    ],
)
def test_the_score_of_fs_is_the_share_of_supported_facts(
    verdicts: list[Verdict], unscored: list[str], share: float | None
) -> None:
    assert facttune.supported_share(verified(0, verdicts, unscored)) == share


def test_the_score_of_mc_is_the_mean_of_the_facts_that_have_a_confidence() -> None:
    assert facttune.mean_confidence(["a", "b", "c"], {"a": 0.5, "c": 1.0, "d": 0.0}) == 0.75
    assert facttune.mean_confidence(["b"], {"a": 0.5}) is None


def test_the_best_sample_has_most_true_facts_and_none_that_is_false() -> None:
    output: dict[int, list[Verdict]] = {
        0: ["correct"],
        1: ["correct", "correct", "incorrect"],
        2: ["correct", "correct", "duplicate", "unverifiable"],
        3: ["correct", "correct"],  # as many, and later
    }
    rows = [verified(number, verdicts) for number, verdicts in output.items()]
    (best,) = best_samples({"q": SAMPLES}, rows)
    assert (best.id, best.question, best.answer) == ("q", "q?", "c")
    cut = [each.model_copy(update={"truncated": each.number > 1}) for each in SAMPLES]
    assert [each.answer for each in best_samples({"q": cut}, rows)] == ["a"]
    # A question whose samples all state something false has none.
    assert best_samples({"q": SAMPLES[1:2]}, rows) == []


def test_samples_are_seen_as_the_answers_of_systems() -> None:
    rows = [sample(1, "b1", source="b"), sample(0, "b0", source="b"), sample(0, "a0", source="a")]
    rows.append(sample(1, "a1", source="a"))
    examples = [Example(id=name, question=f"{name}?", answer="") for name in ("b", "a")]
    result = as_predictions(examples, by_question(rows))
    assert {name: [one.answer for one in inputs] for name, inputs in result.items()} == {
        "0": ["b0", "a0"],
        "1": ["b1", "a1"],
    }
    assert [one.id for one in result["0"]] == ["b", "a"]


@dataclass
class Judge:
    """Prefers what a function says of two answers."""

    verdict: Callable[[Comparison], Preferred | Failure]

    def compare(self, comparisons: Sequence[Comparison]) -> Iterator[Preferred | Failure]:
        assert {one.aspect for one in comparisons} <= {OVERALL}
        return map(self.verdict, comparisons)


LONGEST_WINS = Judge(lambda one: "first" if len(one.first) > len(one.second) else "second")
FIRST_WINS = Judge(lambda _: "first")
TWO = {"q": [sample(0, "long answer"), sample(1, "short"), sample(2, "never read")]}
QUESTION = [Example(id="q", question="q?", answer="")]


def test_a_pair_where_both_orders_agree() -> None:
    result = rlaif.compare(QUESTION, TWO, LONGEST_WINS)
    assert [(pair.chosen, pair.rejected) for pair in result.pairs] == [("long answer", "short")]
    turned = {"q": [sample(0, "short"), sample(1, "long answer")]}
    pairs = rlaif.compare(QUESTION, turned, LONGEST_WINS).pairs
    assert [(pair.id, pair.chosen) for pair in pairs] == [("q-1-0", "long answer")]


def test_a_judge_that_prefers_the_first_position_gives_no_pair() -> None:
    result = rlaif.compare(QUESTION, TWO, FIRST_WINS)
    assert result.pairs == []
    assert result.without == {"no_two_whole_samples_differ": 0, "orders_disagree": 1}


@pytest.mark.parametrize(
    ("verdict", "reason"), [("tie", "judge_calls_it_a_tie"), (Failure(reason="no reply"), "unjudged")]
)
def test_ties_and_missing_verdicts_are_told_apart(verdict: Preferred | Failure, reason: str) -> None:
    result = rlaif.compare(QUESTION, TWO, Judge(lambda _: verdict))
    assert result.without[reason] == 1
    assert result.pairs == []


def test_equal_samples_are_drawn_again_and_cut_off_ones_too() -> None:
    drawn_again = [sample(0, "a b"), sample(1, "a  b"), sample(2, "cut", truncated=True), sample(3, "c")]
    two = rlaif.first_two(drawn_again)
    assert two is not None
    assert [each.number for each in two] == [0, 3]
    assert rlaif.first_two(drawn_again[:3]) is None
    result = rlaif.compare(QUESTION, {"q": drawn_again[:3]}, FIRST_WINS)
    assert result.without == {"no_two_whole_samples_differ": 1}
    assert result.judgements == []


def test_the_exact_judge_takes_more_correct_facts_then_fewer_false_ones() -> None:
    def counts(covered: int, incorrect: int) -> Verification:
        return verification(correct=covered, covered=covered, incorrect=incorrect)

    prefer = CRITERIA[OVERALL].prefer
    assert prefer(counts(2, 3), counts(1, 0)) == "first"
    assert prefer(counts(2, 1), counts(2, 0)) == "second"
    assert prefer(counts(2, 1), counts(2, 1)) == "tie"
