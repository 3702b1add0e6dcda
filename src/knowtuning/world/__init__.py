"""The closed world: fictional towns, a corpus about them, questions, and an exact verifier."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import Any

from knowtuning.core.records import Example
from knowtuning.core.storage import record_rng
from knowtuning.world.corpus import draw_frequencies, write_corpus
from knowtuning.world.questions import held_out_questions, train_questions
from knowtuning.world.settings import WorldParams
from knowtuning.world.towns import make_towns


@dataclass(frozen=True)
class World:
    """A generated world. `truth` is JSON: the facts of every town and how often the corpus states them."""

    train: list[Example]
    valid: list[Example]
    test: list[Example]
    corpus: list[str]
    truth: dict[str, Any]


def build_world(params: WorldParams, seed: int) -> World:
    """Generate the world of a seed; equal arguments give equal worlds."""
    if params.keep_low > params.keep_high:
        raise ValueError(
            f"prepare.world.keep_low is {params.keep_low}; expected at most keep_high = {params.keep_high}"
        )
    shares = params.exposure.rare_share + params.exposure.unseen_share
    if shares > 1 + 1e-9:
        raise ValueError(
            f"prepare.world.exposure: rare_share and unseen_share add up to {shares:g}; expected at most 1"
        )

    def rng(part: str) -> Any:
        return record_rng(seed, "world", part)

    sizes = params.towns
    towns = make_towns(sizes.train + sizes.valid + sizes.test + sizes.guide, rng("towns"))
    rest = iter(towns)
    train, valid, test, guided = (
        list(islice(rest, size)) for size in (sizes.train, sizes.valid, sizes.test, sizes.guide)
    )
    asked = {name: towns[name] for name in [*train, *valid, *test]}
    frequencies = draw_frequencies(asked, params.exposure, rng("frequencies"))
    used: set[str] = set()
    # The recall strata of valid and test take different training towns where there are enough of them.
    recall_test = train[: sizes.test]
    recall_valid = train[-sizes.valid :]
    return World(
        train=train_questions(train, towns, params, used, rng("train")),
        test=held_out_questions(test, recall_test, towns, used, rng("test")),
        valid=held_out_questions(valid, recall_valid, towns, used, rng("valid")),
        corpus=write_corpus(towns, frequencies, guided, rng("corpus"), params.prose),
        truth={"towns": towns, "frequencies": frequencies},
    )
