"""How verdicts on facts and systems look."""

from __future__ import annotations

from dataclasses import dataclass

from knowtuning.core.tables import entry
from knowtuning.systems import EVERY

# Classes s-0 and up in style.css; further systems take them again.
COLOURS = 8


@dataclass(frozen=True)
class Look:
    """How a verdict looks. kind: its CSS class (good, bad, open, again, none); mark: a glyph."""

    label: str
    kind: str
    mark: str


_LOOKS = {
    "correct": Look("correct", "good", "✓"),
    "incorrect": Look("incorrect", "bad", "✗"),
    "unparsed": Look("unreadable", "open", "?"),
    "unverifiable": Look("unverifiable", "open", "?"),
    "duplicate": Look("repeated", "again", "="),
    "unscored": Look("unscored", "none", "–"),
}


def look(verdict: str) -> Look:
    """How a verdict looks. Raises ValueError for a word that is none."""
    return entry(_LOOKS, verdict, "verdict")


def colour(system: str) -> str:
    """The CSS class of a system's colour: one for each place in the table of systems."""
    return f"s-{list(EVERY).index(system) % COLOURS}"
