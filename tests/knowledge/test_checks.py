"""What a teacher's reply must keep of what it was given."""

from __future__ import annotations

import pytest

from knowtuning.core.records import Example
from knowtuning.core.text import repeated_share, share_of, words
from knowtuning.knowledge.extract import Extraction, extract
from knowtuning.knowledge.original import in_place, layout, separator
from knowtuning.knowledge.perturb import grown
from knowtuning.knowledge.rewrite import stated, unstated
from knowtuning.teacher.tasks import FactList
from tests.support.scripted_teacher import ScriptedTeacher


def test_words_are_folded_and_characters_where_there_are_no_spaces() -> None:
    assert words("It’s THE Tin-mine, 1,204!") == ["it's", "the", "tin", "mine", "1", "204"]
    assert words("光合作用") == ["光", "合", "作", "用"]
    assert words("Вода кипит") == ["вода", "кипит"]
    # Vowels of India and accents are part of their word, in one composition; signs that end sentences not.
    assert words("दिन में पानी।") == ["दिन", "में", "पानी"]
    assert words("Cafe\u0301, العَرَبِيَّة။") == ["caf\u00e9", "العَرَبِيَّة"]


def test_shares_by_hand() -> None:
    # Two of the four words asked for are there; each counts as often as it occurs.
    assert share_of(["a", "b", "b", "c"], ["a", "c"]) == 0.5
    assert share_of([], ["a"]) == 1.0
    # Runs of two words: "a b", "b a", "a b": one of three stood there before.
    assert repeated_share("a b a b", size=2) == pytest.approx(1 / 3)
    assert repeated_share("a b") == 0.0


def test_facts_of_another_answer_are_named() -> None:
    question, answer = "Where is Paris?", "It lies in France and has two million people."
    whole = Extraction.of(question, answer, ["Paris lies in France.", "Paris has two million people."])
    # 7 of the answer's 9 words (not "it", not "and"); "Paris" is a word of the question.
    assert (whole.covered, whole.foreign) == (pytest.approx(7 / 9), 0.0)
    assert whole.complaint(0.3, 0.5) is None
    thin = Extraction.of(question, answer, ["Paris."])
    assert thin.complaint(0.3, 0.5) == (
        "the facts hold 0 % of the answer's words; extract.min_covered asks for 30 %"
    )
    # Of the eight words "first fact" and so on only "in" is known.
    foreign = Extraction.of(question, answer, ["Rome was built in one single day indeed."])
    assert foreign.complaint(0.0, 0.5) == (
        "88 % of the facts' words are foreign to question and answer; extract.max_foreign allows 50 %"
    )


def test_a_row_whose_facts_are_not_its_answers_is_rejected_with_the_reply() -> None:
    elsewhere = ScriptedTeacher(lambda task: FactList(facts=["Rome was built in one day."]))
    example = Example(id="a", question="Where is Paris?", answer="It lies in France.")
    (row,) = extract([example], elsewhere, min_covered=0.3, max_foreign=0.5)
    assert row.reason.startswith("the facts hold 25 % of the answer's words")
    assert row.raw["reply"] == ["Rome was built in one day."]


def test_a_chosen_text_that_outgrows_or_repeats_its_answer_is_named() -> None:
    answer = " ".join(f"w{i}" for i in range(100))
    assert grown(answer, answer, 1.1) is None
    assert grown(" ".join(f"v{i}" for i in range(110)), answer, 1.1) is None
    assert grown(" ".join(f"v{i}" for i in range(111)), answer, 1.1) == (
        "chosen has 111 words and the answer 100; perturb.max_growth is 1.1"
    )
    # A few words are no growth, whatever their share.
    assert grown("a b c d e f g h i j k", "a", 1.1) is None
    # 25 times the same four words: of 97 runs all but 4 stood there before.
    output = grown("a b c d " * 25, answer, 1.1)
    assert output == "chosen repeats 96 % of its runs of four words, the answer 0 %"


def test_a_rewrite_states_its_facts_or_a_share_of_them() -> None:
    assert stated(["Paris lies in France."], "In France lies Paris.") == 1.0
    # One of "paris", "lies" and "france"; "in" is no content word.
    assert stated(["Paris lies in France."], "Paris is in it.") == pytest.approx(1 / 3)
    assert unstated(["Paris lies in France."], "In France lies Paris.", 1.0) is None
    assert unstated(["Paris lies in France."], "Paris is in it.", 0.4) == (
        "the answer has 33 % of the content words of its facts; rewrite.min_stated asks for 40 %"
    )


def test_a_fact_of_two_sentences_is_both_of_them_in_the_answer() -> None:
    """The teacher left out a connective between the two; a revision of the second takes its place."""
    answer = "Kest is old. The mill of Kest burned in May. However, it was rebuilt in 1896. Fish is sold."
    facts = ["Kest is old.", "The mill of Kest burned in May. It was rebuilt in 1896.", "Fish is sold."]
    shape = layout(answer, facts)
    assert shape is not None
    assert shape.pieces[1] == "The mill of Kest burned in May. However, it was rebuilt in 1896."
    false = in_place(facts[1], shape.pieces[1], facts[1].replace("1896", "1887"))
    assert shape.text([facts[0], false, facts[2]]) == answer.replace("1896", "1887")


@pytest.mark.parametrize(
    ("facts", "between"),
    [
        (["光合作用是过程。", "植物需要水。", "阳光很重要！"], ""),
        (["पौधों को पानी चाहिए।", "दिन में सूर्य है।", "यह लंबा है।"], " "),
        (["یہ ایک عمل ہے۔", "پودوں کو پانی چاہیے۔", "سورج اہم ہے؟"], " "),
        (["Սա գործընթաց է։", "Բույսերին ջուր է պետք։", "Արևը կարևոր է։"], " "),
        (["ဒါသည် ဖြစ်သည်။", "အပင် ရေ လိုသည်။", "နေ ကောင်းသည်။"], " "),
        (["It sat…", "Plants need water.", "Sun matters!"], "\n"),
    ],
)
def test_an_answer_in_any_script_is_cut_at_its_sentences(facts: list[str], between: str) -> None:
    answer = between.join(facts)
    shape = layout(answer, facts)
    assert shape is not None
    assert (shape.pieces, separator(answer)) == (facts, between)
    assert shape.text([facts[0], None, facts[2]]) == f"{facts[0]}{between}{facts[2]}"
