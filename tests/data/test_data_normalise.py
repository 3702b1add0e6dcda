"""Normalised text: one form, reached in one step."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knowtuning.data.normalise import fold, normalise, question_id

# Any Unicode, with the characters that are treated specially far more often than chance gives them.
SPECIAL = st.sampled_from(
    " \t\n\r\x00\x0b\x0c\x1f\x85\xa0\xad\u0301\u1100\u1161\u2000\u200b\u2028\u3000\ufeffeA"
)
TEXT = st.text(st.one_of(SPECIAL, st.characters(exclude_categories=["Cs"])))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\u00a0\u202f b", "a b"),  # no-break spaces are spaces, and two spaces are one
        ("a\tb", "a b"),
        ("a\r\nb\rc\u2028d", "a\nb\nc\nd"),  # every line end is \n
        ("one. \n   \n \n  - two", "one.\n\n- two"),  # a paragraph stays a paragraph
        ("e\u0301", "\u00e9"),  # NFC composes
        ("e\u200b\u0301", "\u00e9"),  # also across what a removal brings together
        ("a\x00b\x07", "ab"),
        ("\ufeff soft\u00adhyphen ", "softhyphen"),
        (
            "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
            "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
        ),
        ("\u00b2 \ufb01", "\u00b2 \ufb01"),  # NFC, not NFKC: a superscript keeps its meaning
        (" \n\t ", ""),
    ],
)
def test_normal_forms(text: str, expected: str) -> None:
    assert normalise(text) == expected


@given(TEXT)
def test_normalise_is_idempotent_and_clean(text: str) -> None:
    once = normalise(text)
    assert normalise(once) == once
    assert unicodedata.is_normalized("NFC", once)
    assert {c for c in once if unicodedata.category(c) in ("Cc", "Zs", "Zl", "Zp")} <= {" ", "\n"}
    assert "  " not in once
    assert "\n\n\n" not in once
    assert once == once.strip()


@given(TEXT)
def test_normalise_keeps_every_visible_character(text: str) -> None:
    def visible(value: str) -> str:
        gone = "\u200b\ufeff\u00ad"
        kept = (c for c in value if unicodedata.category(c) not in ("Cc", "Zs", "Zl", "Zp") and c not in gone)
        return unicodedata.normalize("NFC", "".join(kept))

    assert visible(normalise(text)) == visible(text)


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
