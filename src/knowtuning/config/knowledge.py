"""Parameters of the knowledge stages `extract` and `rewrite`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from knowtuning.config.teacher import TeacherParams
from knowtuning.core.params import Section, Seed, Selection

_REJECTED = (
    "largest share of rows that may be rejected before the stage fails (0..1); rows that the teacher leaves "
    "out do not count"
)


class ExtractParams(Section):
    """Splitting answers into atomic facts."""

    min_covered: float = Field(
        ge=0, le=1, description="least share of an answer's words that its facts hold, or the row is rejected"
    )
    max_foreign: float = Field(
        ge=0,
        le=1,
        description="largest share of the facts' words that neither answer nor question has, or the row is "
        "rejected",
    )
    max_rejected: float = Field(ge=0, le=1, description=_REJECTED)


class RewriteParams(Section):
    """Fine-grained knowledge augmentation (paper, 3.2)."""

    alpha: float = Field(
        ge=0, le=1, description="share of an answer's facts that count as difficult (0..1); 0.5 in the paper"
    )
    select: Literal["hardest", "hard_recalled", "random"] = Field(
        description="which facts these are: the hardest by perplexity (paper); the hardest of those that the "
        "base model recalls when cued, in the closed world alone; or as many drawn at random"
    )
    min_stated: float = Field(
        ge=0,
        le=1,
        description="least share of the content words of its facts that a rewritten answer has, or the row "
        "is rejected",
    )
    max_rejected: float = Field(ge=0, le=1, description=_REJECTED)


class ExtractStage(Selection):
    """What the extract stage reads."""

    seed: Seed
    teacher: TeacherParams
    extract: ExtractParams


class RewriteStage(Selection):
    """What the rewrite stage reads."""

    seed: Seed
    teacher: TeacherParams
    rewrite: RewriteParams
