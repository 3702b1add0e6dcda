"""Records that several tests need, with what they do not look at filled in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from knowtuning.core.records import FactScore, Pair, Prediction, ScoredFacts
from knowtuning.world.verifier import Verification


def preference_pair(
    chosen: str,
    rejected: str,
    *,
    source: str = "a",
    aspect: str = "factuality",
    question: str = "?",
    id: str | None = None,
) -> Pair:
    """A preference pair; its id is that of its source with the aspect."""
    name = id or f"{source}-{aspect}"
    return Pair(id=name, source=source, aspect=aspect, question=question, chosen=chosen, rejected=rejected)


def prediction(id: str, answer: str, question: str = "?", *, truncated: bool = False) -> Prediction:
    """The answer of some system to a question."""
    return Prediction(id=id, question=question, answer=answer, tokens=9, truncated=truncated)


def scored_facts(
    id: str,
    ppls: Sequence[float],
    recalled: Sequence[bool | None] | None = None,
    texts: Sequence[str] | None = None,
) -> ScoredFacts:
    """Facts of these perplexities, each by its text or else its index; unless told, recall is not known."""
    rows = zip(texts or map(str, range(len(ppls))), ppls, recalled or [None] * len(ppls), strict=True)
    facts = [FactScore(text=text, logps=-1.0, tokens=1, ppl=ppl, recalled=known) for text, ppl, known in rows]
    return ScoredFacts(id=id, question="Q?", answer=" ".join(fact.text for fact in facts), facts=facts)


def verification(**counts: Any) -> Verification:
    """What the exact verifier says of an answer to a question that asks for four facts; the rest is 0."""
    names = ("correct", "incorrect", "unparsed", "duplicate", "covered", "concordant", "pairs")
    return Verification(**{**dict.fromkeys(names, 0), "asked": 4, "sentences": (), **counts})
