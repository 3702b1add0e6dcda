"""The table of metrics: names, which of them lead, and what a function may return."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from knowtuning.core.records import Example
from knowtuning.core.text import content_words, first_words
from knowtuning.evaluation import lexical, metrics
from knowtuning.evaluation.metrics import METRICS, MetricInputs, compute, label, leading, metric
from knowtuning.verification.answer_facts import check_answers
from knowtuning.verification.exact import f1_at_k
from tests.support.records import prediction
from tests.support.scripted_teacher import ScriptedTeacher

TEXTS = {"a": "It is red.", "b": "It is round and it is old."}


def answers(cache: Path) -> MetricInputs:
    """Two answers that are their own references; the second was cut off."""
    return MetricInputs(
        [Example(id=name, question="?", answer=text) for name, text in TEXTS.items()],
        [prediction(name, text, truncated=name == "b") for name, text in TEXTS.items()],
        cache,
    )


@pytest.mark.parametrize("name", ["bleu", "bleu(smoothed)"])
def test_an_unknown_name_is_one_line(name: str) -> None:
    for look_up in (metric, label, lambda unknown: leading(["words", unknown])):
        with pytest.raises(
            ValueError, match=r"^metric is 'bleu'; expected one of correct, .*, truncated, .*$"
        ):
            look_up(name)


def test_a_variant_in_brackets_is_the_same_metric_by_another_label() -> None:
    assert metric("bertscore(enc@01234567,L2)") is METRICS["bertscore"]
    assert label("bertscore(enc@01234567,L2)") == "BERTScore (enc@01234567,L2)"
    assert label("rougeL") == "ROUGE-L"


def test_what_is_switched_off_has_no_score(cache: Path) -> None:
    result = compute(answers(cache))
    # No encoder: no BERTScore. Synonyms off: METEOR goes by its other name.
    compared = ["meteor_no_synonyms", "rougeL", "content_precision", "content_recall"]
    cut = [f"{name}_equal_length" for name in compared]
    assert list(result) == [*compared, "words", "repeated", "truncated", *cut]
    assert result["rougeL"] == [100.0, 100.0]
    assert result["words"] == [3.0, 7.0]
    assert result["truncated"] == [0.0, 100.0]


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        *((range(count), f"found {count} values for 2 answers$") for count in (0, 1, 3)),
        ([1.0, math.nan], "found nan, expected a number, or None"),
        ([1.0, math.inf], "found inf, expected a number, or None"),
    ],
)
def test_a_function_without_a_number_for_each_answer_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, values: Sequence[float], complaint: str
) -> None:
    broken = replace(METRICS["words"], function=lambda _: list(values))
    monkeypatch.setattr(metrics, "METRICS", {"words": broken})
    with pytest.raises(ValueError, match=f"^metric words: {complaint}"):
        compute(answers(tmp_path))


def test_headlines_of_an_exact_run_and_of_a_text_run() -> None:
    # Names as they come, which is not the order of the table.
    encoder = "bertscore(enc@01234567,L2)"
    text = ["words", "truncated", encoder, "meteor_no_synonyms", "rougeL"]
    exact = ["order", "completeness", "unparsed", "duplicate", "percent_correct", "incorrect", "correct"]
    assert leading([*text, *exact]) == [
        *("correct", "incorrect", "completeness", "order", "words", "truncated")
    ]
    judged = ["unscored", "recall", "unverifiable", "incorrect", "correct", "percent_correct_pooled"]
    assert leading([*text, *judged]) == [
        *("correct", "incorrect", "recall", encoder, "meteor_no_synonyms", "words", "truncated")
    ]
    # Nobody verified: the text metrics alone.
    assert leading(text) == [encoder, "meteor_no_synonyms", "words", "truncated"]


def test_questions_without_a_reference_are_compared_with_nothing(cache: Path) -> None:
    inputs = answers(cache)
    first = inputs.examples[0].model_copy(update={"answer": ""})
    result = compute(replace(inputs, examples=[first, *inputs.examples[1:]]))
    assert result["rougeL"] == [None, 100.0]
    assert result["words"] == [3.0, 7.0]
    blank = [example.model_copy(update={"answer": " "}) for example in inputs.examples]
    assert compute(replace(inputs, examples=blank))["meteor_no_synonyms"] == [None, None]


def test_facts_of_an_answer_that_nothing_can_be_compared_with_cost_no_call() -> None:
    example, teacher = Example(id="q", question="?", answer=""), ScriptedTeacher()
    (result,) = check_answers([example], {"kc": [prediction("q", "It is so.")]}, teacher)
    assert teacher.tasks == []
    assert result.id == "q/kc"
    assert set(result.scores.values()) == {None}
    assert result.unscored == []


@pytest.mark.parametrize(
    ("text", "count", "cut"),
    [
        ("It is red, and so on.", 3, "It is red"),
        # What is no longer than that stays whole, its last mark too.
        ("It is red.", 3, "It is red."),
        ("It is red.", 0, ""),
        # A character is a word where no spaces are.
        ("光合作用把光能", 4, "光合作用"),
    ],
)
def test_a_text_is_cut_after_so_many_words(text: str, count: int, cut: str) -> None:
    assert first_words(text, count) == cut


def test_at_equal_length_nothing_is_won_by_going_on(cache: Path) -> None:
    inputs = answers(cache)
    longer = [
        one.model_copy(update={"answer": f"{one.answer} It is red and red."}) for one in inputs.predictions
    ]
    whole, cut = compute(inputs), compute(replace(inputs, predictions=longer))
    for name in ("meteor_no_synonyms", "rougeL", "content_precision"):
        assert cut[name] < whole[name]
    # The answers begin with their references; only the last full stop is gone.
    for name in ("rougeL", "content_precision", "content_recall"):
        assert cut[f"{name}_equal_length"] == whole[name] == [100.0, 100.0]


def test_content_words_count_as_often_as_they_are_there() -> None:
    assert content_words("It is the red house of Émile's 3 dogs") == ["red", "house", "émile's", "3", "dogs"]
    share = lexical.content_share
    # red twice and a house: one red and the house are in the reference, which has a garden too.
    output, wanted = ["The red, red house."], ["A red house with a garden."]
    assert share(output, wanted) == pytest.approx([100 * 2 / 3])
    assert share(wanted, output) == pytest.approx([100 * 2 / 3])
    assert share([""], wanted) == [0.0]


def test_f1_at_k_pays_neither_for_more_than_k_nor_for_what_is_unsupported() -> None:
    # Precision 3/4, recall 3/4; precision 1, recall 1; one in three, of one wanted: 2 * 1/3 / (4/3).
    assert f1_at_k(3, 1, 4) == 75.0
    assert f1_at_k(6, 0, 4) == f1_at_k(4, 0, 4) == 100.0
    assert f1_at_k(1, 2, 1) == pytest.approx(50.0)
    assert f1_at_k(0, 0, 4) == 0.0
