"""Repeated openings and lists of links: found, reported and, where params say so, left out."""

from __future__ import annotations

import gzip
import json

import pytest

from knowtuning.data.boilerplate import find, link_list, opening, report
from tests.support.checkout import SHARED

# As MedQuAD prints them, with line breaks and with white space folded.
LINKS = (
    "These resources address the diagnosis or management of Wilson disease:\n\n"
    "- Gene Review: Wilson Disease\n- Genetic Testing Registry: Wilson's disease\n"
    "- National Human Genome Research Institute"
)
RUN_ON = (
    "These resources address the diagnosis or management of argininemia: - Baby's First Test - Gene Review: "
    "Arginase Deficiency These resources from MedlinePlus offer information about the diagnosis and "
    "management of various health conditions: - Diagnostic Tests - Drug Therapy"
)


@pytest.mark.parametrize(
    "text",
    [
        *(LINKS, RUN_ON),
        "- https://example.org/one\n- https://example.org/two",
        "See also:\n* [Bees](https://example.org/bees) and their hives\n* [Wasps](https://example.org/wasps)",
        "For more information, see:\n1. The field guide\n2. The atlas of bees",
        # A heading alone, with a colon or without, and addresses alone.
        "Resources:\n\n1. Field guide\n2. Atlas of bees",
        "External links\n- The field guide\n- The atlas of bees",
        "https://example.org/bees",
        "https://example.org/bees\nwww.example.org/wasps",
    ],
)
def test_lists_of_links(text: str) -> None:
    assert link_list(text)


@pytest.mark.parametrize(
    "text",
    [
        "The symptoms are:\n- fever\n- headache\n- nausea",
        "Chile's natural resources are:\n- copper\n- lithium",
        "Useful links of a chain are these: - The first one bears the load. - The second one bears it too.",
        "The handbook is good - https://example.org/. Many like the course - https://example.org/course.",
        "More information is at https://example.org.",
        "You can find help here:\n- the baker\n- the miller",
        "The sources of the river are:\n- the glacier\n- the fen",
        "```\nsee also:\n```",
        "",
    ],
)
def test_other_answers_are_no_lists_of_links(text: str) -> None:
    assert not link_list(text)


def test_an_opening_is_six_words_or_twelve_characters() -> None:
    assert opening("As an AI language-model, I can't say.") == (
        "as",
        "an",
        "ai",
        "language-model",
        "i",
        "can't",
    )
    assert opening("Five words are not enough.") == ()
    assert "".join(opening("作为一个人工智能语言模型,我无法回答")) == "作为一个人工智能语言模型"


def test_an_opening_of_one_in_a_hundred_answers_is_shared() -> None:
    plain = [f"Thing {n} is one of many other things." for n in range(494)]
    refusals = [f"As an AI language model, I cannot say {n}." for n in range(6)]
    # 6 of 500 are more than 1 %; 6 of 601 are less; 4 are less than the five that count at all.
    assert list(find(plain + refusals).openings.values()) == [6]
    assert (
        find(plain + [f"Item {n} is one of many other things." for n in range(101)] + refusals).openings == {}
    )
    assert find(refusals[:4]).openings == {}
    result = find(plain + refusals)
    assert result.kinds(refusals[0]) == ["shared_opening"]
    assert result.kinds(plain[0]) == []
    assert result.kinds(LINKS) == ["link_list"]
    assert result.reason(LINKS, ["shared_opening"]) is None
    assert (result.reason(LINKS, ["link_list"]) or "").startswith('link_list: "These resources address the')


def test_the_report_gives_the_whole_of_what_is_shared() -> None:
    answers = [f"There is no cure for disease {n}." for n in range(5)] + [LINKS]
    places = [(f"row {n}", answer) for n, answer in enumerate(answers)]
    assert report(find(answers), places) == {
        "link_list": [{"where": "row 5", "answer": " ".join(LINKS.split())[:159] + "…"}],
        "shared_opening": [{"opening": "There is no cure for disease", "answers": 5, "where": "row 0"}],
    }
    assert report(find([]), []) == {}


@pytest.mark.skipif(not SHARED.is_dir(), reason="the data folder beside the checkout is absent")
def test_medquad_and_dolly() -> None:
    with gzip.open(SHARED / "medquad.jsonl.gz", "rt", encoding="utf-8") as stream:
        medquad = [json.loads(line)["answer"] for line in stream]
    dolly = [row["output"] for row in json.loads((SHARED / "dolly_train.json").read_text())]
    links = [answer for answer in medquad if answer.startswith("These resources")]
    # Counted apart with grep: 1,086 answers begin so; two of them hold long titles that are questions.
    assert len(links) == 1086
    assert [len(links), sum(map(link_list, medquad)), sum(map(link_list, dolly))] == [1086, 1084, 0]
    # The first six words of 2,326, 1,085 and 592 answers, counted apart with collections.Counter.
    assert sorted(find(medquad).openings.values()) == [592, 1085, 2326]
    assert find(dolly).openings == {}
