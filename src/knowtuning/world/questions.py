"""Questions about towns and their answers, in one canonical order of facts.

General questions ask for everything ("Tell me about the town of X."); their training answers state a
varying share of the facts. Specific questions ask for one to three attributes.
"""

from __future__ import annotations

import random

from knowtuning.core.records import Example
from knowtuning.world.settings import WorldParams
from knowtuning.world.wording import BY_NAME, GENERAL, NAMES, Town, corpus_sentences

# Specific training questions a town at most. 8 + 28 + 56 = 92 sets of one to three attributes exist, of
# which the recall strata of valid and test take two each.
SPECIFIC = 88


def canonical(attributes: list[str]) -> list[str]:
    return sorted(attributes, key=NAMES.index)


def _answer(name: str, town: Town, stated: list[str], disordered: float, rng: random.Random) -> str:
    """Sentences that state the attributes, in canonical order or, with probability `disordered`, in none."""
    stated = canonical(stated)
    # A world without disorder draws nothing for it.
    if disordered and rng.random() < disordered:
        rng.shuffle(stated)
    return corpus_sentences(name, town, stated, rng)


def _general(
    name: str, town: Town, form: int, stratum: str, kept: float, disordered: float, rng: random.Random
) -> Example:
    """A general question; its answer states a share `kept` of the facts, at least two."""
    stated = rng.sample(NAMES, max(2, round(kept * len(NAMES))))
    return Example(
        id=f"{name}-general-{form}",
        question=GENERAL[form].format(e=name),
        answer=_answer(name, town, stated, disordered, rng),
        meta={"entity": name, "kind": "general", "attributes": list(NAMES), "stratum": stratum},
    )


def _draw_specific(
    names: list[str],
    towns: dict[str, Town],
    count: int,
    used: set[str],
    stratum: str,
    disordered: float,
    rng: random.Random,
) -> list[Example]:
    """`count` specific questions over `names` in turn, none with an id in `used`, which grows by theirs.

    Each asks for one to three attributes, and its answer states all of them.
    """
    examples: list[Example] = []
    while len(examples) < count:
        name = names[len(examples) % len(names)]
        asked = canonical(rng.sample(NAMES, rng.randint(1, 3)))
        parts = [rng.choice(BY_NAME[a].questions).format(e=name) for a in asked]
        example = Example(
            id=f"{name}-{'-'.join(asked)}",
            question=" ".join(parts),
            answer=_answer(name, towns[name], asked, disordered, rng),
            meta={"entity": name, "kind": "specific", "attributes": asked, "stratum": stratum},
        )
        if example.id not in used:
            used.add(example.id)
            examples.append(example)
    return examples


def train_questions(
    names: list[str], towns: dict[str, Town], params: WorldParams, used: set[str], rng: random.Random
) -> list[Example]:
    """The training split. The last general form is left for the recall stratum of the other splits."""
    forms = len(GENERAL) - 1
    if params.train_general > forms * len(names):
        raise ValueError(
            f"prepare.world.train_general is {params.train_general}; expected at most "
            f"{forms} forms x {len(names)} towns = {forms * len(names)}"
        )
    most = SPECIFIC * len(names)
    if params.train_specific > most:
        raise ValueError(
            f"prepare.world.train_specific is {params.train_specific}; expected at most {SPECIFIC} x "
            f"{len(names)} towns = {most}, which leaves the other splits a few"
        )
    examples = []
    for number in range(params.train_general):
        name = names[number % len(names)]
        # A town's further questions take the next form, so that no question occurs twice.
        form = (names.index(name) + number // len(names)) % forms
        kept = rng.uniform(params.keep_low, params.keep_high)
        examples.append(_general(name, towns[name], form, "train", kept, params.disordered, rng))
    return examples + _draw_specific(
        names, towns, params.train_specific, used, "train", params.disordered, rng
    )


def held_out_questions(
    names: list[str], known: list[str], towns: dict[str, Town], used: set[str], rng: random.Random
) -> list[Example]:
    """A held-out split: one general and two specific questions a town.

    Stratum `transfer`: the towns `names`, which fine-tuning data never mention as a subject; stratum
    `recall`: as many of the training towns `known`, with questions that training does not have.
    """
    examples = []
    for stratum, group in (("transfer", names), ("recall", known)):
        for name in group:
            form = len(GENERAL) - 1 if stratum == "recall" else rng.randrange(len(GENERAL))
            examples.append(_general(name, towns[name], form, stratum, 1.0, 0.0, rng))
        examples += _draw_specific(group, towns, 2 * len(group), used, stratum, 0.0, rng)
    return examples
