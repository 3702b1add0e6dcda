"""What a teacher's reply must keep of what it was given, whoever the teacher is.

The words of the facts are the words of the answer; a rewrite states the facts it was made for; the chosen
text is no longer than the answer it stands for and repeats itself no more. Each check gives a share that
metrics report, and a reason where a threshold of params is crossed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from knowtuning.core.text import content_words, repeated_share, share_of, words

# Texts of few words may be longer by so many words, whatever the share.
SLACK = 10


@dataclass(frozen=True)
class Extraction:
    """Shares (0..1) of one answer. covered: of its words, those that are in its facts. foreign: of the facts'
    words, those that are neither in the answer nor in its question."""

    covered: float
    foreign: float

    @classmethod
    def of(cls, question: str, answer: str, facts: Sequence[str]) -> Extraction:
        in_facts, in_answer = words(" ".join(facts)), words(answer)
        return cls(share_of(in_answer, in_facts), 1 - share_of(in_facts, [*in_answer, *words(question)]))

    def complaint(self, min_covered: float, max_foreign: float) -> str | None:
        """Why these facts are not those of the answer; None where they are."""
        if self.covered < min_covered:
            return (
                f"the facts hold {_percent(self.covered)} of the answer's words; extract.min_covered asks "
                f"for {_percent(min_covered)}"
            )
        if self.foreign > max_foreign:
            return (
                f"{_percent(self.foreign)} of the facts' words are foreign to question and answer; "
                f"extract.max_foreign allows {_percent(max_foreign)}"
            )
        return None


def stated(facts: Sequence[str], answer: str) -> float:
    """Share (0..1) of the facts' content words that a rewritten answer has."""
    return share_of(content_words(" ".join(facts)), words(answer))


def unstated(facts: Sequence[str], answer: str, min_stated: float) -> str | None:
    """Why a rewritten answer does not state the facts it was asked for; None where it does."""
    share = stated(facts, answer)
    if share >= min_stated:
        return None
    return (
        f"the answer has {_percent(share)} of the content words of its facts; rewrite.min_stated asks for "
        f"{_percent(min_stated)}"
    )


def grown(chosen: str, answer: str, max_growth: float) -> str | None:
    """Why a chosen text is more than its answer, in length or in repetition; None where it is not.

    max_growth: most words it may have, as a multiple of the answer's.
    """
    length, limit = len(words(chosen)), len(words(answer))
    if length > max(max_growth * limit, limit + SLACK):
        return f"chosen has {length} words and the answer {limit}; perturb.max_growth is {max_growth:g}"
    before, after = repeated_share(answer), repeated_share(chosen)
    if after > before + 0.05:
        return f"chosen repeats {_percent(after)} of its runs of four words, the answer {_percent(before)}"
    return None


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
