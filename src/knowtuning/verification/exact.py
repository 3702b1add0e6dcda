"""Answers verified by the ground truth of the closed world."""

from __future__ import annotations

from knowtuning.core.records import Example, Sentence, Verified
from knowtuning.world.verifier import Truth


def verify(example: Example, system: str, answer: str, truth: Truth) -> Verified:
    """What the ground truth says about a system's answer: counts of facts, and rates in 0..100.

    percent_correct: correct of the facts stated (correct and incorrect). f1_at_k: K is the number of facts
    asked for. completeness: of the facts asked for, those stated correctly. order: concordant of all pairs
    of facts. Raises ValueError where nothing is asked.
    """
    counts = truth.verify(example, answer)
    if counts.asked < 1:
        raise ValueError(f"{example.id}: the question asks for no fact; expected at least one attribute")
    scores = {
        "correct": float(counts.correct),
        "incorrect": float(counts.incorrect),
        "unparsed": float(counts.unparsed),
        "duplicate": float(counts.duplicate),
        "percent_correct": percent(counts.correct, counts.correct + counts.incorrect),
        "f1_at_k": f1_at_k(counts.correct, counts.incorrect + counts.unparsed, counts.asked),
        "completeness": percent(counts.covered, counts.asked),
        "order": percent(counts.concordant, counts.pairs),
    }
    return Verified(
        id=f"{example.id}/{system}",
        question=example.id,
        system=system,
        scores=rounded(scores),
        sentences=[Sentence(text=text, verdict=verdict) for text, verdict in counts.sentences],
    )


def f1_at_k(supported: int, unsupported: int, k: int) -> float:
    """F1@K of one answer in 0..100 (SAFE: Wei et al., 2024, "Long-form factuality in large language models").

    The harmonic mean of supported / (supported + unsupported) and min(1, supported / K); 0 where nothing is
    supported. supported: distinct facts. unsupported: all other statements, also those that are left open:
    to say more pays only while it is supported, and no further than K facts.
    Deviation: there K is one number for all prompts; here it is, question by question, the number of facts
    that the question wants, since questions for one fact and for ten stand in one test set.
    """
    if not supported:
        return 0.0
    precision, recall = supported / (supported + unsupported), min(1.0, supported / k)
    return 200.0 * precision * recall / (precision + recall)


def percent(part: int, whole: int) -> float | None:
    """A share in 0..100, None where there is nothing to share."""
    return 100.0 * part / whole if whole else None


def rounded(scores: dict[str, float | None]) -> dict[str, float | None]:
    """Scores with the four decimals that files hold."""
    return {name: None if value is None else round(value, 4) for name, value in scores.items()}
