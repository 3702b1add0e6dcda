"""Parameters of the method's first version: what its two steps are trained on."""

from __future__ import annotations

from pydantic import Field

from knowtuning.config.teacher import TeacherParams
from knowtuning.core.params import Section, Seed, Selection

_REJECTED = (
    "largest share of rows that may be rejected before the stage fails (0..1); rows that the teacher leaves "
    "out do not count"
)


class KgParams(Section):
    """Knowledge generation: training rows that ask for triples."""

    max_rejected: float = Field(ge=0, le=1, description=_REJECTED)


class KgKcParams(Section):
    """Knowledge comparison of texts that are made from triples."""

    beta_delete: float = Field(
        ge=0,
        le=1,
        description="share of a question's triples that an incomplete text lacks, at least one (0..1); "
        "first version: half",
    )
    limit: int | None = Field(
        ge=1, description="pairs in all, drawn at random, for runs of equal budget; null: all"
    )
    max_rejected: float = Field(ge=0, le=1, description=_REJECTED)


class TriplesStage(Selection):
    """What the stage that makes the rows of triples reads."""

    seed: Seed
    teacher: TeacherParams
    kg: KgParams


class TriplePairsStage(Selection):
    """What the stage that makes pairs from triples reads."""

    seed: Seed
    teacher: TeacherParams
    kgkc: KgKcParams
