"""Parameters of the method's first version: what its two steps are trained on."""

from __future__ import annotations

from pydantic import Field

from knowtuning.config.teacher import MaxRejected, TeacherStage
from knowtuning.core.params import Section, Share


class KgParams(Section):
    """Knowledge generation: training rows that ask for triples."""

    max_rejected: MaxRejected


class KgKcParams(Section):
    """Knowledge comparison of texts that are made from triples."""

    beta_delete: Share = Field(
        description="share of a question's triples that an incomplete text lacks, at least one (0..1); "
        "first version: half"
    )
    limit: int | None = Field(ge=1, description="pairs in all, drawn at random, for equal budgets; null: all")
    max_rejected: MaxRejected


class TriplesStage(TeacherStage):
    kg: KgParams


class TriplePairsStage(TeacherStage):
    kgkc: KgKcParams
