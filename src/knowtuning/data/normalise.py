"""Text in one form, so that equal text is equal bytes."""

from __future__ import annotations

import re
import unicodedata

from knowtuning.core.storage import digest

_LINE_END = re.compile("\r\n|[\n\r\x0b\x0c\x1c-\x1f\x85\u2028\u2029]")
# Zero-width space, byte-order mark and soft hyphen show nothing; the zero-width joiners stay, because
# Indic and Persian words and emoji are spelled with them.
_INVISIBLE = "\u200b\ufeff\u00ad"
_UNUSUAL = re.compile("[^\n -~]")
_SPACES = re.compile("  +")
_BLANK_LINES = re.compile("\n{3,}")


def _visible(character: str) -> str:
    """A space for any kind of space, nothing for a control character, else the character."""
    category = unicodedata.category(character)
    if category == "Zs" or character == "\t":
        return " "
    hidden = character in _INVISIBLE or category == "Cc"
    return "" if hidden else character


def normalise(text: str) -> str:
    """Text in Unicode NFC with single spaces and `\\n` line ends, without control characters.

    Paragraphs stay: lines keep their ends, and one blank line is left of several. Indentation goes.
    Idempotent: normalise(normalise(text)) == normalise(text).
    """
    text = _LINE_END.sub("\n", text)
    text = _UNUSUAL.sub(lambda match: _visible(match[0]), text)
    # After the removals, which may bring a letter and its accent together.
    text = unicodedata.normalize("NFC", text)
    text = _SPACES.sub(" ", text).replace(" \n", "\n").replace("\n ", "\n")
    return _BLANK_LINES.sub("\n\n", text).strip(" \n")


def fold(question: str) -> str:
    """The form in which two questions are compared: case and white space do not count."""
    return " ".join(unicodedata.normalize("NFC", question.casefold()).split())


def question_id(question: str) -> str:
    """An id made from the question alone, so that inserting a row renames no other (48 bits)."""
    return f"q-{digest(fold(question))[:12]}"
