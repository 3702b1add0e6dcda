"""Scores of answers and their averages against numbers worked out by hand, with a fake ground truth."""

from dataclasses import replace
from pathlib import Path

import pytest

from knowtuning.core.records import Example, Prediction, Scores, Verified, read_predictions, write_jsonl
from knowtuning.evaluation import metrics
from knowtuning.evaluation.metrics import METRICS, Metric, MetricInputs, score_answers
from knowtuning.evaluation.outputs import render
from knowtuning.evaluation.stats import Resampling
from knowtuning.evaluation.summary import (
    Summary,
    difference_metrics,
    plot_rows,
    summarise_groups,
    systems_metrics,
)
from knowtuning.systems import SYSTEMS
from knowtuning.verification import exact
from knowtuning.verification.jury import Jury
from knowtuning.world.verifier import Verification
from tests.support.records import prediction, verification

HOW = Resampling(seed=3)


class FakeTruth:
    """Judges an answer by looking it up."""

    def __init__(self, verdicts: dict[str, Verification]) -> None:
        self.verdicts = verdicts

    def verify(self, example: Example, answer: str) -> Verification:
        return self.verdicts[answer]


VERDICTS = {
    "three": verification(
        correct=3, incorrect=1, covered=2, concordant=2, pairs=3, sentences=(("three", "correct"),)
    ),
    "one": verification(correct=1, unparsed=2, covered=1, asked=1),
    "nothing": verification(),
    "all of it": verification(correct=4, covered=4, concordant=6, pairs=6),
}
EXAMPLES = [
    Example(id="a", question="A?", answer="ref a", meta={"kind": "general", "stratum": "transfer"}),
    Example(id="b", question="B?", answer="ref b", meta={"kind": "specific", "stratum": "transfer"}),
    Example(id="c", question="C?", answer="ref c", meta={"kind": "general", "stratum": "recall"}),
]


def predictions(*answers: str) -> list[Prediction]:
    return [
        prediction(e.id, a, e.question, truncated=a == "nothing")
        for e, a in zip(EXAMPLES, answers, strict=True)
    ]


def scored(
    system: str,
    examples: list[Example],
    predictions: list[Prediction],
    verdicts: list[Verified],
    **scores: list[float],
) -> list[Scores]:
    """Rows of a system, with these values of text metrics in place of those computed."""
    table = {
        name: replace(METRICS[name], compare=None, function=lambda _, name=name: scores[name])
        for name in scores
    }
    plain: dict[str, Metric] = {name: METRICS[name] for name in ("words", "truncated")}
    answers = MetricInputs(examples, predictions, Path("unused"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(metrics, "METRICS", table | plain)
        return score_answers(answers, system, verdicts)


def rows_of(system: str, *answers: str) -> list[Scores]:
    inputs = predictions(*answers)
    verdicts = Jury(FakeTruth(VERDICTS), None, "computed").verify(EXAMPLES, {system: inputs})
    return scored(system, EXAMPLES, inputs, verdicts, meteor=[10.0, 20.0, 60.0])


@pytest.fixture(scope="module")
def summaries() -> list[Summary]:
    rows = rows_of("sft", "three", "one", "nothing") + rows_of("kc", "all of it", "one", "all of it")
    return summarise_groups(rows, HOW)


def test_scores_of_one_answer() -> None:
    # Of "three": 3 of 4 stated facts are correct, 2 of 4 asked are covered, 2 of 3 pairs concordant.
    first, _, last = rows_of("sft", "three", "one", "nothing")
    assert first.id == "a/sft"
    assert first.groups == {"kind": "general", "stratum": "transfer"}
    assert first.scores == {
        "correct": 3.0,
        "incorrect": 1.0,
        "unparsed": 0.0,
        "duplicate": 0.0,
        "percent_correct": 75.0,
        "f1_at_k": 75.0,
        "completeness": 50.0,
        "order": 66.6667,
        "meteor": 10.0,
        "words": 1.0,
        "truncated": 0.0,
    }
    assert [(s.text, s.verdict) for s in first.sentences] == [("three", "correct")]
    assert last.scores["percent_correct"] is None
    assert last.scores["order"] is None
    assert last.scores["truncated"] == 100.0


def test_averages_of_a_system(summaries: list[Summary]) -> None:
    # sft answers "three", "one", "nothing". correct: (3+1+0)/3. percent_correct: (75+100)/2, the third
    # answer states nothing. Pooled: 4 of 5 stated. completeness: (50+100+0)/3. order: only the first has
    # pairs. meteor: (10+20+60)/3. f1_at_k: three quarters twice, 1/3 and 1, 0: (75+50+0)/3.
    assert systems_metrics(summaries)["sft"]["overall"] == {
        "questions": 3,
        "correct": 1.3333,
        "incorrect": 0.3333,
        "unparsed": 0.6667,
        "duplicate": 0.0,
        "percent_correct": 87.5,
        "percent_correct_n": 2,
        "f1_at_k": 41.6667,
        "completeness": 50.0,
        "order": 66.6667,
        "order_n": 1,
        "meteor": 30.0,
        "words": 1.0,
        "truncated": 33.3333,
        "percent_correct_pooled": 80.0,
    }


def test_an_answer_without_a_score_leaves_the_mean_and_its_count() -> None:
    """As one whose facts got no verdict."""
    lost, *others = rows_of("sft", "three", "one", "nothing")
    lost = lost.model_copy(update={"scores": {**lost.scores, "correct": None}})
    leaf = systems_metrics(summarise_groups([lost, *others], HOW)[:1])["sft"]["overall"]
    # One correct fact and none.
    assert (leaf["correct"], leaf["correct_n"], leaf["questions"]) == (0.5, 2, 3)


def test_a_group_draws_the_subjects_of_its_own_questions() -> None:
    rows = rows_of("sft", "three", "one", "nothing")
    how = replace(HOW, units=["aford", "brimm", "aford"])
    overall, general, *_ = summarise_groups(rows, how)
    both = [each.systems["sft"]["correct"] for each in (overall, general)]
    # 3, 1 and 0 correct facts: Aford twice is 1.5, Brimm twice 1; the general questions are Aford's alone.
    assert [(each.low, each.high, each.n) for each in both] == [(1.0, 1.5, 3), (1.5, 1.5, 2)]


def test_groups_are_the_strata_and_their_crossings(summaries: list[Summary]) -> None:
    result = {summary.group: summary.questions for summary in summaries}
    assert result == {
        "overall": 3,
        "general": 2,
        "specific": 1,
        "recall": 1,
        "transfer": 2,
        "general_recall": 1,
        "general_transfer": 1,
        "specific_transfer": 1,
    }
    tree = systems_metrics(summaries)["kc"]
    assert tree["general"]["correct"] == 4.0
    assert tree["specific"]["correct"] == 1.0
    # No pair of facts among specific answers: no mean, and the denominator says so.
    assert "order" not in tree["specific"]
    assert tree["specific"]["order_n"] == 0


def test_differences_to_sft(summaries: list[Summary]) -> None:
    # kc - sft in correct facts: 4-3, 1-1, 4-0 -> mean 5/3. Of the 27 ordered resamples of {1, 0, 4} one
    # is 0,0,0 and one 4,4,4 (3.7 % each, beyond the tails of 2.5 %), so the bounds are 0 and 4.
    tree = difference_metrics(summaries)
    assert list(tree) == ["kc"]
    assert tree["kc"]["overall"]["correct"] == {"mean": 1.6667, "low": 0.0, "high": 4.0}
    # One question: 4 - 3 = 1 in every resample.
    assert tree["kc"]["general_transfer"]["correct"] == {"mean": 1.0, "low": 1.0, "high": 1.0}
    # sft defines no order in general_recall, so there is no difference to give.
    assert "order" not in tree["kc"]["general_recall"]


def test_printed_table(summaries: list[Summary]) -> None:
    by_group = {summary.group: summary for summary in summaries}
    text = render(by_group["general_transfer"], baseline="sft", confidence=0.95)
    assert text.splitlines()[:3] == [
        "general_transfer: 1 questions; mean ± half the 95 % interval",
        "                                 sft             kc",
        "correct                  3.00 ± 0.00    4.00 ± 0.00",
    ]
    assert "difference to sft, 95 % interval; * excludes 0" in text
    lines = {line.split()[0]: line for line in text.splitlines()[-12:]}
    assert lines["correct"] == "correct                    +1.00 [+1.00, +1.00]*"
    assert lines["meteor"] == "meteor                     +0.00 [+0.00, +0.00] "


def test_plot_rows_name_group_system_and_metric(summaries: list[Summary]) -> None:
    rows = {(row["group"], row["system"], row["metric"]): row for row in plot_rows(summaries)}
    assert rows["overall", "kc", "completeness"]["value"] == 100.0
    assert rows["overall", "sft", "order"] == {
        "group": "overall",
        "system": "sft",
        "metric": "order",
        "value": 66.6667,
        "low": 66.6667,
        "high": 66.6667,
        "n": 1,
    }


def test_without_strata_or_truth_only_text_metrics_remain() -> None:
    examples = [Example(id="a", question="A?", answer="r")]
    inputs = [prediction("a", "two words", "A?")]
    unverified = Jury(None, None, "not computed").verify(examples, {"sft": inputs})
    rows = scored("sft", examples, inputs, unverified, rougeL=[25.0])
    (only,) = summarise_groups(rows, HOW)
    assert systems_metrics([only]) == {
        "sft": {"overall": {"questions": 1, "rougeL": 25.0, "words": 2.0, "truncated": 0.0}}
    }


def test_a_question_that_asks_for_nothing_is_an_error() -> None:
    verdicts = FakeTruth({"x": verification(asked=0)})
    with pytest.raises(ValueError, match="a: the question asks for no fact"):
        exact.verify(EXAMPLES[0], "ka", "x", verdicts)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("extra", r"kc.jsonl: found 4 answers, expected one to each of 3 questions \('z' is not asked\)"),
        ("stale", r"kc.jsonl: b: found the question 'old', expected 'B\?'; run predict again"),
    ],
)
def test_predictions_must_answer_these_questions(tmp_path: Path, change: str, message: str) -> None:
    inputs = predictions("x", "y", "z")
    for system in SYSTEMS:
        write_jsonl(tmp_path / f"{system}.jsonl", inputs)
    bad = {
        "extra": [*inputs, inputs[0].model_copy(update={"id": "z"})],
        "stale": [inputs[0], inputs[1].model_copy(update={"question": "old"}), inputs[2]],
    }
    write_jsonl(tmp_path / "kc.jsonl", bad[change])
    with pytest.raises(ValueError, match=message):
        read_predictions(tmp_path, SYSTEMS, EXAMPLES)


def test_predictions_come_in_the_order_of_the_questions(tmp_path: Path) -> None:
    for system in SYSTEMS:
        write_jsonl(tmp_path / f"{system}.jsonl", predictions("x", "y", "z"))
    result = read_predictions(tmp_path, SYSTEMS, EXAMPLES[::-1])
    assert [p.answer for p in result["kc"]] == ["z", "y", "x"]
