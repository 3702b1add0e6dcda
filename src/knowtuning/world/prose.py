"""Connected prose: facts of the world told one after the other as a person tells them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from knowtuning.world.wording import ADVERBS, AND, Statement, with_pronoun

# What may join a clause to the one before; most often nothing.
LINKS = ("", "", "", AND, AND, *ADVERBS)


def prose(said: Sequence[Statement], links: Sequence[str]) -> str:
    """The statements in their order, each in the words of its template, as one text that reads back to them.

    links: for each statement one of LINKS, which joins it to the one before where it can: the first has none,
    a sentence has two clauses at most, and no adverb comes twice. A town that is the subject of the clause
    before is called "it".
    """
    assert len(said) == len(links)
    text, used = said[0].sentence, [""]
    for (before, each), link in zip(pairwise(said), links[1:], strict=True):
        if link in (used[-1:] if link == AND else used):
            link = ""
        used.append(link)
        clause = _clause(each, referring=before.topic == each.entity, first=not link)
        text = f"{text.removesuffix('.')}{link}{clause}" if link == AND else f"{text} {link}{clause}"
    return text


def _clause(said: Statement, *, referring: bool, first: bool) -> str:
    """A statement with the town or a pronoun for it; first: whether it begins its sentence."""
    form = with_pronoun(said.template) if referring else said.template
    if not first and not form.startswith("{e}"):
        form = form[0].lower() + form[1:]
    return form.format(e=said.entity, v=said.value)
