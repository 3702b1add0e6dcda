"""Texts compared: folded, and as words."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable

# A word, but for scripts that put no space between words: there a character.
_WORD = re.compile(
    r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]|\w+(?:['’]\w+)*"
)


def normal_form(text: str) -> str:
    """Text folded for comparison: case, white space and a final full stop do not count."""
    return " ".join(text.casefold().split()).rstrip(".")


def words(text: str) -> list[str]:
    """The words of a text, folded; characters in scripts that put no space between words."""
    return [word.replace("’", "'") for word in _WORD.findall(text.casefold())]


def is_latin(text: str) -> bool:
    """Whether half of a text's letters or more are Latin: tools for English find words in no other script."""
    letters = [char for char in text if char.isalpha()]
    return 2 * sum("LATIN" in unicodedata.name(char, "") for char in letters) >= len(letters)


def share_of(wanted: Iterable[str], there: Iterable[str]) -> float:
    """Share (0..1) of the words `wanted`, each as often as it occurs, that are among `there`; 1 for none."""
    known = set(there)
    asked = list(wanted)
    return sum(word in known for word in asked) / len(asked) if asked else 1.0


def repeated_share(text: str, size: int = 4) -> float:
    """Share (0..1) of the runs of `size` words that stood in the text before; 0 where it has no such run."""
    said = words(text)
    runs = Counter(tuple(said[i : i + size]) for i in range(len(said) - size + 1))
    total = runs.total()
    return (total - len(runs)) / total if total else 0.0
