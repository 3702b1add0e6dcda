"""The plain text a base model learns the world from: facts at different frequencies, no questions."""

from __future__ import annotations

import random

from knowtuning.config.world import Exposure
from knowtuning.world.towns import Town
from knowtuning.world.wording import BY_NAME, NAMES, say

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
        sentences = [say(a, rng.randrange(len(BY_NAME[a].templates)), name, town[a]) for a in chosen]
        paragraphs.append(" ".join(sentences))
        for attribute in chosen:
            left[attribute] -= 1
    return paragraphs


def write_corpus(towns: dict[str, Town], frequencies: Frequencies, rng: random.Random) -> list[str]:
    """Paragraphs about all towns in random order; every fact is stated as often as `frequencies` says."""
    lines = [p for name in towns for p in _paragraphs(name, towns[name], frequencies[name], rng)]
    rng.shuffle(lines)
    return lines
