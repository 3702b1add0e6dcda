"""The probe: which texts it compares, how, and what a model must hold more probable."""

from __future__ import annotations

import pytest

from knowtuning.core.records import Facts, Pair, Rejected
from knowtuning.evaluation.stats import Resampling
from knowtuning.knowledge.aspects import Perturbation
from knowtuning.knowledge.probe import contrasts, fitting, preference, probed, sides, summarise
from knowtuning.model.prompt import Formatter
from knowtuning.teacher.tasks import FactList, Revise
from knowtuning.training.logps import add_head, completion_logps
from stages import probe as stage
from tests.support.scripted_teacher import ScriptedTeacher
from tests.support.tiny_models import unigram_model, word_tokenizer
from tests.support.training import CPU


def lie(task: Revise) -> FactList:
    """Makes the first fact false and leaves the others."""
    return FactList(facts=["A lie.", *task.facts[1:]])


def facts(name: str, *statements: str) -> Facts:
    return Facts(id=name, question="?", answer=" ".join(statements), facts=list(statements))


def pair(aspect: str, source: str = "a", number: int = 1) -> Pair:
    name = f"{source}-{aspect}-{number:02}"
    return Pair(id=name, source=source, aspect=aspect, question="?", chosen="it is so", rejected="it is")


def test_a_pair_a_changed_fact_and_a_pair_an_answer() -> None:
    records = [facts("a", "One.", "Two.", "Three."), facts("b", "Only."), facts("lost", "Four.", "Five.")]
    rows = list(
        contrasts(
            records,
            ScriptedTeacher(lie, fails=lambda task: task.id == "lost"),
            Perturbation(seed=1, beta_delete=0.5),
        )
    )
    result = {row.id: row for row in rows if isinstance(row, Pair)}
    # The facts that the teacher left alone are no pairs; one fact cannot be thinned, nor two shuffled.
    assert sorted(result) == [
        *("a-completeness-01", "a-factuality-01", "a-logicality-01", "b-factuality-01"),
        "lost-completeness-01",
    ]
    assert (result["a-factuality-01"].chosen, result["a-factuality-01"].rejected) == ("One.", "A lie.")
    whole = result["a-completeness-01"]
    assert (whole.chosen, len(whole.rejected.split())) == ("One. Two. Three.", 2)
    shuffled = result["a-logicality-01"].rejected
    assert shuffled != whole.chosen
    assert sorted(shuffled.split()) == sorted(whole.chosen.split())
    assert [(row.id, row.reason) for row in rows if isinstance(row, Rejected)] == [
        ("lost-factuality", "found no reply 7")
    ]


def test_facts_are_compared_whole_and_answers_per_token() -> None:
    # -6 in 3 tokens against -5 in 2: less probable as a whole, more per token (-2 against -2.5).
    assert preference(pair("factuality"), (-6.0, -5.0), (3, 2)) == 0.0
    assert preference(pair("completeness"), (-6.0, -5.0), (3, 2)) == 100.0
    assert preference(pair("logicality"), (-6.0, -4.0), (3, 2)) == 50.0
    with pytest.raises(ValueError, match=r"^a-logicality-01: the log-probabilities are \[nan, -1\.0\]"):
        preference(pair("logicality"), (float("nan"), -1.0), (3, 2))


def test_scores_are_means_by_question_and_null_without_a_pair() -> None:
    pairs = [pair("factuality"), pair("factuality", number=2), pair("completeness"), pair("factuality", "b")]
    rows = probed(pairs, [100.0, 0.0, 100.0, 100.0], "kc", ["a", "b"])
    assert [(row.id, row.scores) for row in rows] == [
        ("a/kc", {"probe_factuality": 50.0, "probe_completeness": 100.0, "probe_logicality": None}),
        ("b/kc", {"probe_factuality": 100.0, "probe_completeness": None, "probe_logicality": None}),
    ]
    result = summarise({"kc": rows, "sft": []}, Resampling(seed=1, resamples=1000))
    # A question weighs one, however many facts it has: (50 + 100) / 2. Of two questions' four equally
    # likely resamples one in four has twice the lower: the interval reaches both.
    assert list(result) == ["kc"]
    assert result["kc"]["probe_factuality"] == {
        "accuracy": 75.0,
        "accuracy_low": 50.0,
        "accuracy_high": 100.0,
        "n": 2,
    }
    assert result["kc"]["probe_logicality"] == {"n": 0}


def test_a_model_is_asked_without_the_end_of_the_answer() -> None:
    tokenizer = word_tokenizer(["?", "it", "is", "so"])
    formatter = Formatter(tokenizer, "bare", {})
    first = pair("factuality")
    (prompt, chosen), (_, rejected) = sides(first, formatter)
    names = tokenizer.convert_ids_to_tokens
    assert (names(prompt)[-1], names(chosen), names(rejected)) == ("?", ["it", "is", "so"], ["it", "is"])
    # "so" has 3 of 9 shares of the probability and every other token 1: more than any per token, but a
    # longer text is less probable as a whole.
    model = unigram_model({tokenizer.convert_tokens_to_ids("so"): 3.0}, size=7)
    add_head(model)
    logps = completion_logps(model, sides(first, formatter), 64)
    assert preference(first, logps, (3, 2)) == 0.0
    assert preference(pair("completeness"), logps, (3, 2)) == 100.0
    # <s>, "?" and three words.
    assert list(fitting([first], formatter, context=5)) == [first]
    (output,) = fitting([first], formatter, context=4)
    assert isinstance(output, Rejected)
    assert output.reason == "prompt and text have 5 tokens; expected 4 at most"


def test_without_a_pair_no_model_is_loaded() -> None:
    # There is no system of that name.
    assert stage._logps("nobody", [], CPU) == []
