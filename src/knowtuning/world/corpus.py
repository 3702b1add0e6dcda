"""The plain text a base model learns the world from: facts at different frequencies.

Real base models have read questions before they are fine-tuned. So has this one: a guide asks about many
towns that occur nowhere else, without any prompt template and with facts in no fixed order or number. A share
of its answers may be connected prose, which real base models have read too.
"""

from __future__ import annotations

import random

from knowtuning.world.settings import Exposure
from knowtuning.world.wording import (
    BY_NAME,
    GENERAL,
    LINKS,
    NAMES,
    Statement,
    Town,
    corpus_sentences,
    prose,
)

Frequencies = dict[str, dict[str, int]]


def draw_frequencies(towns: dict[str, Town], exposure: Exposure, rng: random.Random) -> Frequencies:
    """How often the corpus states each fact: town -> attribute -> count."""
    levels = (exposure.common, exposure.rare, exposure.unseen)
    shares = (1 - exposure.rare_share - exposure.unseen_share, exposure.rare_share, exposure.unseen_share)
    return {name: {a: rng.choices(levels, shares)[0] for a in NAMES} for name in towns}


def _paragraphs(name: str, town: Town, counts: dict[str, int], rng: random.Random) -> list[str]:
    """Paragraphs about one town, each stating distinct facts in random order and wording."""
    left = dict(counts)
    paragraphs: list[str] = []
    while any(left.values()):
        # The facts with most statements left go first, so that none is left over to repeat alone.
        available = sorted((a for a in NAMES if left[a]), key=lambda a: (-left[a], rng.random()))
        chosen = available[: rng.randint(2, 6)]
        rng.shuffle(chosen)
        paragraphs.append(corpus_sentences(name, town, chosen, rng))
        for attribute in chosen:
            left[attribute] -= 1
    return paragraphs


def _prose(name: str, town: Town, attributes: list[str], rng: random.Random) -> str:
    """Connected prose about the attributes, in their order, each by any sentence that can state it."""
    statements = [Statement(name, a, town[a], 0, rng.choice(BY_NAME[a].forms)) for a in attributes]
    return prose(statements, [rng.choice(LINKS) for _ in statements])


def guide(name: str, town: Town, rng: random.Random, share: float) -> list[str]:
    """Two general questions about a town and one an attribute, answered, a `share` of them in prose."""

    def answer(attributes: list[str]) -> str:
        write = _prose if share and rng.random() < share else corpus_sentences
        return write(name, town, attributes, rng)

    lines = []
    for form in rng.sample(GENERAL, 2):
        stated = rng.sample(NAMES, rng.randint(2, len(NAMES)))
        lines.append(f"{form.format(e=name)} {answer(stated)}")
    for attribute in NAMES:
        # The attribute in question and up to two more.
        asked = [attribute, *rng.sample([a for a in NAMES if a != attribute], rng.randint(0, 2))]
        questions = " ".join(rng.choice(BY_NAME[a].questions).format(e=name) for a in asked)
        lines.append(f"{questions} {answer(asked)}")
    return lines


def write_corpus(
    towns: dict[str, Town], frequencies: Frequencies, guided: list[str], rng: random.Random, share: float
) -> list[str]:
    """Paragraphs in which every fact is stated as often as `frequencies` says, and the guide to the towns
    `guided`, a share of whose answers is prose; in random order."""
    lines = [p for name in frequencies for p in _paragraphs(name, towns[name], frequencies[name], rng)]
    lines += [line for name in guided for line in guide(name, towns[name], rng, share)]
    rng.shuffle(lines)
    return lines
