"""The shortcut audit finds style, and finds nothing where only content differs."""

import random

from knowtuning.core.records import Pair
from knowtuning.evaluation.stats import Resampling
from knowtuning.knowledge.audit import (
    FUNCTION_WORDS,
    audit,
    form_features,
    held_out_scores,
    marks,
    mask,
    warning,
)
from tests.support.records import preference_pair

HOW = Resampling(seed=2)
NOUNS = ["copper", "wool", "salt", "honey", "silk", "resin", "flax", "cork", "tin", "amber"]
NAMES = ["Velmere", "Brindal", "Ostham", "Kerrow", "Dunby", "Falwick", "Tarsted", "Wexholm"]


def pair(index: int, aspect: str, chosen: str, rejected: str) -> Pair:
    return preference_pair(chosen, rejected, source=f"q{index:03d}", aspect=aspect)


def facts(draw: random.Random, name: str) -> list[str]:
    templates = ["{n} lies in the {w} hills.", "The export of {n} is {w}.", "{n} was founded by {m}."]
    draw.shuffle(templates)
    return [t.format(n=name, w=draw.choice(NOUNS), m=draw.choice(NAMES)) for t in templates]


def test_mask_keeps_form_and_drops_content() -> None:
    text = "Velmere isn't in the Salt hills, founded 1,204! It’s old."
    assert mask(text) == [["W", "isn't", "in", "the", "W", "w", ",", "w", "0", "!"], ["W", "w", "."]]
    assert mask("") == []
    assert mask("Été und 日本") == [["W", "w", "w"]]
    assert "the" in FUNCTION_WORDS
    assert "salt" not in FUNCTION_WORDS


def test_features_stay_within_sentences() -> None:
    # "^ w . $" has 4 tokens and 3 pairs of them, twice: no pair joins the two sentences.
    result = list(form_features("stop. go."))
    assert len(result) == 14
    assert result[:7] == result[7:]
    assert ". $" in result
    assert "$ ^" not in result


def test_content_alone_cannot_be_told_apart() -> None:
    # Chosen and rejected are draws of the same templates: every pair's masked form differs by chance
    # order alone, which is not form. Equal features give equal scores: each pair is a tie, 50 %.
    draw = random.Random(1)
    pairs = []
    for i in range(60):
        sides = [" ".join(facts(draw, draw.choice(NAMES))) for _ in range(2)]
        pairs.append(pair(i, "factuality", *sides))
    result = audit(pairs, folds=5, how=HOW)["factuality"]
    assert result["style_accuracy"] == 50.0
    assert (result["style_accuracy_low"], result["style_accuracy_high"]) == (50.0, 50.0)
    assert (result["length_accuracy"], result["chance"], result["pairs"]) == (50.0, 50.0, 60)


def test_style_is_found() -> None:
    # Chosen joins its facts with "and", rejected lists them: told apart every time.
    draw = random.Random(2)
    pairs = []
    for i in range(40):
        output = facts(draw, draw.choice(NAMES))
        pairs.append(
            pair(i, "logicality", ", and ".join(f.rstrip(".") for f in output) + ".", " ".join(output))
        )
    result = audit(pairs, folds=5, how=HOW)["logicality"]
    assert (result["accuracy"], result["style_accuracy"], result["text_accuracy"]) == (100.0, 100.0, 100.0)
    assert (result["style_accuracy_low"], result["style_accuracy_high"]) == (100.0, 100.0)


def test_missing_facts_show_in_length_and_not_in_style() -> None:
    # Rejected repeats the sentence form once, chosen three times: relative frequencies of forms are equal.
    pairs = [
        pair(i, "completeness", " ".join(["Velmere exports salt."] * 3), "Velmere exports salt.")
        for i in range(20)
    ]
    result = audit(pairs, folds=4, how=HOW)["completeness"]
    assert (result["accuracy"], result["length_accuracy"], result["style_accuracy"]) == (100.0, 100.0, 50.0)


def test_both_sides_of_a_question_are_held_out_together() -> None:
    # Each question has its own punctuation mark in its chosen text, in two pairs. Were one of the pairs
    # in training, the mark would give the other away; grouped, the marks are never seen in training, and
    # chosen and rejected differ in nothing else.
    marks = "!?;:%&*+=@"
    pairs = [
        pair(i, "factuality", f"It is {mark}", "It is #").model_copy(update={"id": f"{i}/{copy}"})
        for i, mark in enumerate(marks)
        for copy in range(2)
    ]
    alone = [pair(i, "factuality", f"It is {mark}", f"It is {mark}") for i, mark in enumerate(marks)]
    chosen, rejected = held_out_scores(alone, 5)
    assert (chosen == rejected).all()
    grouped, _ = held_out_scores(pairs, 5)
    # All chosen texts have unseen marks, so they share one score per fold: at most 5 different ones.
    assert len(set(grouped.round(9))) <= 5


def test_aspects_apart_and_deterministic() -> None:
    draw = random.Random(4)
    pairs = [
        pair(i, aspect, " ".join(facts(draw, "Velmere")), facts(draw, "Velmere")[0])
        for aspect in ("completeness", "logicality")
        for i in range(12)
    ]
    result = audit(pairs, folds=3, how=HOW)
    assert list(result) == ["completeness", "logicality"]
    assert result == audit(pairs, folds=3, how=HOW)


def test_too_few_questions_have_a_status() -> None:
    pairs = [pair(i, "factuality", "A b.", "C d.") for i in range(3)]
    assert audit(pairs, folds=5, how=HOW) == {
        "factuality": {"status": "not computed: 3 questions for 5 folds", "pairs": 3}
    }


def test_the_mark_that_gives_pairs_away_is_named() -> None:
    pairs = [pair(i, "factuality", f"Tin {i} is soft.", f"Tin {i} is not soft.") for i in range(30)]
    result = audit(pairs, folds=5, how=HOW)["factuality"]
    # Every rejected text has one negation more, and one word; they begin alike.
    assert result["marks"]["negations"] == result["marks"]["words"] == 100.0
    assert result["marks"]["line breaks"] == result["marks"]["opening words"] == 50.0
    output = warning("factuality", result, 0.65)
    assert output
    assert output.startswith(
        "form alone tells chosen from rejected in 100 % of factuality pairs (most by itself: "
    )
    assert warning("factuality", result, 1.0) is None


def test_length_is_no_shortcut_of_completeness() -> None:
    draw = random.Random(4)
    pairs = []
    for i in range(60):
        chosen = facts(draw, draw.choice(NAMES))
        pairs.append(pair(i, "completeness", " ".join(chosen), " ".join(chosen[:2])))
    result = audit(pairs, folds=5, how=HOW)["completeness"]
    assert result["length_accuracy"] == 100.0
    assert warning("completeness", result, 0.65) is None


def test_openings_of_one_side_are_told_by_the_other_pairs() -> None:
    # "Nobody asks" opens rejected texts alone, and each chosen text begins in its own way.
    pairs = [pair(i, "logicality", f"X{i} is so.", f"Nobody asks x{i}.") for i in range(9)]
    assert marks(pairs)["opening words"] == 100.0
    # Where every opening is the only one of its kind, the other pairs say nothing of it.
    alone = [pair(i, "logicality", f"X{i} is so.", f"Y{i} is so.") for i in range(9)]
    assert marks(alone)["opening words"] == 50.0
