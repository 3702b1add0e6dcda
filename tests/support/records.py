"""Records that several tests need, with what they do not look at filled in."""

from __future__ import annotations

from knowtuning.core.records import Pair


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
