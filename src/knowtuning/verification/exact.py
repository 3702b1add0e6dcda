"""Answers verified by a ground truth, such as that of the closed world."""

from __future__ import annotations

from typing import Protocol

from knowtuning.core.records import Example, Sentence, Verdict, Verified
from knowtuning.knowledge import aspects


class Verification(aspects.Verification, Protocol):
    """What a fact verifier counts in one answer, and its verdict on each sentence."""

    @property
    def sentences(self) -> tuple[tuple[str, Verdict], ...]: ...


class Verifier(Protocol):
    """A ground truth that judges answers; see knowtuning.world.verifier."""

    def verify(self, example: Example, answer: str) -> Verification: ...


def verify(example: Example, system: str, answer: str, truth: Verifier) -> Verified:
    """What the ground truth says about a system's answer."""
    found = truth.verify(example, answer)
    return Verified(
        id=f"{example.id}/{system}",
        question=example.id,
        system=system,
        scores=rounded(fact_scores(example, found)),
        sentences=[Sentence(text=text, verdict=verdict) for text, verdict in found.sentences],
    )


def fact_scores(example: Example, found: Verification) -> dict[str, float | None]:
    """Counts of facts, and rates in 0..100, of one verified answer.

    percent_correct: correct of the facts stated (correct and incorrect). completeness: of the facts
    asked for, those stated correctly. order: concordant of all pairs of facts. Raises ValueError where
    nothing is asked.
    """
    if found.asked < 1:
        raise ValueError(f"{example.id}: the question asks for no fact; expected at least one attribute")
    return {
        "correct": float(found.correct),
        "incorrect": float(found.incorrect),
        "unparsed": float(found.unparsed),
        "duplicate": float(found.duplicate),
        "percent_correct": percent(found.correct, found.correct + found.incorrect),
        "completeness": percent(found.covered, found.asked),
        "order": percent(found.concordant, found.pairs),
    }


def percent(part: int, whole: int) -> float | None:
    """A share in 0..100, None where there is nothing to share."""
    return 100.0 * part / whole if whole else None


def rounded(scores: dict[str, float | None]) -> dict[str, float | None]:
    """Scores with the four decimals that files hold."""
    return {name: None if value is None else round(value, 4) for name, value in scores.items()}
