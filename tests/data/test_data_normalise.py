"""Normalised text: one form, reached in one step."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knowtuning.data.normalise import fold, leftovers, normalise, placeholder, question_id, visible

# Any Unicode, with the characters that are treated specially far more often than chance gives them.
SPECIAL = st.sampled_from(
    " \t\n\r\x00\x0b\x0c\x1f\x85\xa0\xad\u0301\u1100\u1161\u2000\u200b\u2028\u3000\ufeffeA"
)
TEXT = st.text(st.one_of(SPECIAL, st.characters(exclude_categories=["Cs"])))

# Texts whose white space and characters mean something.
PYTHON = (
    "Use a loop:\n\n```python\ndef total(rows):\n    for row in rows:\n\tif row:\n        yield  row\n\n\n```"
)
YAML = "model:\n  layers:\n    - {size: 8}\n    - {size: 16}\n  name:   tiny"
NESTED = "1. Fruit\n   - apples\n     - red ones\n   - pears\n2. Nuts"
TABLE = "   x |   y\n-----+----\n   1 |  10\n 100 |   2"
MARKDOWN = "First line with a break  \nsecond line\n\n| a | b |\n|:--|--:|\n| 1 |  2 |"
TABS = "name\tage\nAnn\t\t7"
FORMULA = "\\begin{aligned}\n  x &= y \\\\\n  z &= \\frac{a}{b}\n\\end{aligned}"
HAIKU = "古池や\n　蛙飛び込む\n　　水の音"  # ideographic spaces
KHMER = "សួស្តី\u200bពិភពលោក"  # a zero-width space between words
PERSIAN = "می\u200cخواهم"
DECOMPOSED = "Cafe\u0301 und Ko\u0308ln"
TYPESET = "12\u202f000\u00a0km, co\u00adoperate"


@pytest.mark.parametrize(
    "text",
    [
        *(PYTHON, YAML, NESTED, TABLE, MARKDOWN, TABS, FORMULA),
        *(HAIKU, KHMER, PERSIAN, DECOMPOSED, TYPESET, "a\x00b\x1b[0m"),
    ],
)
def test_text_is_kept_to_the_character(text: str) -> None:
    assert normalise(text) == text
    windows = "\ufeff\r\n \t\r\n" + text.replace("\n", "\r\n") + "  \r\n\u200b\r\n"
    assert normalise(windows) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\r\nb\rc\u2028d\x0be", "a\nb\nc\nd\ne"),  # every line end is \n
        ("one.\n   \n \n  - two", "one.\n   \n \n  - two"),
        ("  a lone line has no layout \u00a0", "a lone line has no layout"),
        ("\n    an indented block\n    of two lines\n", "    an indented block\n    of two lines"),
        ("\ufeffdef f():\n    pass", "def f():\n    pass"),
        (" \n\t \u3000", ""),
    ],
)
def test_line_ends_and_edges(text: str, expected: str) -> None:
    assert normalise(text) == expected


@given(TEXT)
def test_normalise_is_idempotent_and_changes_only_ends_of_lines_and_edges(text: str) -> None:
    once = normalise(text)
    assert normalise(once) == once
    plain = text.replace("\r\n", "\n")
    for end in "\r\x0b\x0c\x85\u2028\u2029":
        plain = plain.replace(end, "\n")
    assert once in plain
    edge = "[\\s\ufeff\u200b]*"
    assert re.fullmatch(edge + re.escape(once) + edge, plain)
    assert once == once.rstrip()


@pytest.mark.parametrize(
    "text", ["", " ", "\u200b\ufeff", "\u00ad", "\x00\x07", "\u200d", "\u3000\u2028", "\u3164\ufe0f"]
)
def test_nothing_to_see(text: str) -> None:
    assert not visible(text)


@pytest.mark.parametrize(
    "text",
    [
        *("nan", "NaN", "N/A", "n/a", "NA", "<NA>", "#N/A", "null", "NULL", "None", "\\N", "undefined"),
        *("(blank)", "<noinput>", "<nooutput>", "<NoInput>", "Nooutput", "No output.", "no_input"),
        *(
            "[no answer]",
            "< no input >",
            "[deleted]",
            "[Removed]",
            "</s>",
            "<s> </s>",
            "<|endoftext|>",
            "...",
            "…",
        ),
    ],
)
def test_marks_that_stand_for_no_text(text: str) -> None:
    assert placeholder(text)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "Na",
            "Nan",
            "None.",
            "None of them.",
            "No",
            "No answer",
            "0",
            "-",
            "Nano",
            "banana",
            "N/A means so.",
        ),
        *("[x]", "<s>A</s>", ".NET"),
    ],
)
def test_short_answers_are_answers(text: str) -> None:
    # Sodium, a town, and what is said in words.
    assert visible(text)
    assert not placeholder(text)


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (("a\tb\nc\u00e9\u200d", "a < b > c & d", "List<T>, <think>", "São João, NÃO", "AT&T; R&D"), []),
        (("a\x1b[0m", "\x00"), ["control characters"]),
        (("<p>Rest.</p>", "one<br>two", '<a href="x">y</a>', "20&nbsp;mg", "&#8217;", "<LI>"), ["HTML"]),
        (("CafÃ©", "donâ€™t", "20Â\u00a0mg", "Caf\ufffd"), ["letters that were decoded wrongly"]),
    ],
)
def test_what_an_export_left_in_a_text_is_seen(texts: tuple[str, ...], expected: list[str]) -> None:
    assert [leftovers(text) for text in texts] == [expected] * len(texts)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("What is a bee?", " what  IS\n a\u00a0bee?"),
        ("Caf\u00e9?", "CAFE\u0301?"),
        ("Stra\u00dfe?", "STRASSE?"),
        ("co\u00adoperate\u200b", "cooperate\x00"),
    ],
)
def test_comparison_folds(one: str, other: str) -> None:
    assert fold(one) == fold(other)
    assert fold("x\u00b2") != fold("x2")  # a superscript keeps its meaning


@pytest.mark.parametrize(
    "char",
    [
        *("\u034f", "\u061c", "\u115f", "\u180e", "\u200e", "\u200f", "\u202b"),
        *("\u2060", "\u2069", "\u3164", "\ufe0f", "\ufeff", "\uffa0", "\U000e0100"),
    ],
)
def test_what_shows_nothing_makes_no_other_question(char: str) -> None:
    assert fold(f"{char}What is {char}x?") == fold("What is x?")
    assert normalise(f"a {char}b") == f"a {char}b"  # the text itself is kept


def test_joiners_make_another_word() -> None:
    assert fold("می\u200cخواهم") != fold("میخواهم")


@given(TEXT)
def test_case_and_white_space_make_no_new_question(text: str) -> None:
    question = normalise(text)
    spaced = question.replace(" ", " \n ")
    assert fold(spaced) == fold(question)
    assert question_id(spaced) == question_id(question)


def test_ids_are_fixed() -> None:
    # sha256 of the JSON text ["what is x?"] opens with these 12 digits:
    # printf '["what is x?"]' | sha256sum
    assert question_id("What is  X?") == "q-296fb9c33a27"
