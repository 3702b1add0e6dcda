"""Parameters of the knowledge stages `extract` and `rewrite`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from knowtuning.config.teacher import MaxRejected, TeacherStage
from knowtuning.core.params import Section, Share


class ExtractParams(Section):
    """Splitting answers into atomic facts."""

    min_covered: Share = Field(
        description="least share of an answer's words that its facts hold, or the row is rejected"
    )
    max_foreign: Share = Field(
        description="largest share of the facts' words that neither answer nor question has, or the row is "
        "rejected"
    )
    max_rejected: MaxRejected


class RewriteParams(Section):
    """Fine-grained knowledge augmentation (paper, 3.2)."""

    alpha: Share = Field(description="share of an answer's facts that count as difficult; 0.5 in the paper")
    select: Literal["hardest", "hard_recalled", "random"] = Field(
        description="which facts these are: the hardest by perplexity (paper); the hardest of those that the "
        "base model recalls when cued, in the closed world alone; or as many drawn at random"
    )
    min_stated: Share = Field(
        description="least share of the content words of its facts that a rewritten answer has, or the row "
        "is rejected"
    )
    max_rejected: MaxRejected


class ExtractStage(TeacherStage):
    extract: ExtractParams


class RewriteStage(TeacherStage):
    rewrite: RewriteParams
