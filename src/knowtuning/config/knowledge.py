"""Parameters of the knowledge stages (`extract`, `score`, `rewrite`, `perturb`)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, ValidationInfo, field_validator

from knowtuning.config.teacher import TeacherParams
from knowtuning.core.params import ModelParams, Section, Seed, Selection
from knowtuning.core.records import ASPECTS, Aspect

_REJECTED = "largest share of rows that may be rejected before the stage fails (0..1)"


class ExtractParams(Section):
    """Splitting answers into atomic facts."""

    max_rejected: float = Field(ge=0, le=1, description=_REJECTED)


class ScoreParams(Section):
    """Perplexity of the facts under the base model."""

    dtype: Literal["auto", "float32", "bfloat16"] = Field(
        description="number format of the model; auto is bfloat16 on a GPU that has it, else float32"
    )
    max_rejected: float = Field(ge=0, le=1, description=_REJECTED)


class RewriteParams(Section):
    """Fine-grained knowledge augmentation (paper, 3.2)."""

    alpha: float = Field(
        ge=0, le=1, description="share of an answer's facts that count as difficult (0..1); 0.5 in the paper"
    )
    max_rejected: float = Field(ge=0, le=1, description=_REJECTED)


class PerturbParams(Section):
    """Coarse-grained knowledge comparison (paper, 3.3)."""

    style: Literal["matched", "paper"] = Field(
        description="matched: both sides are rephrased facts; paper: rephrased answer against bare facts"
    )
    completeness: bool = Field(description="make pairs whose rejected side lacks facts")
    factuality: bool = Field(description="make pairs whose rejected side has false facts")
    logicality: bool = Field(description="make pairs whose rejected side has its facts shuffled")
    beta_delete: float = Field(
        ge=0, le=1, description="share of an answer's facts that completeness deletes, at least one (0..1)"
    )
    max_rejected: float = Field(ge=0, le=1, description=_REJECTED)

    @field_validator("logicality")
    @classmethod
    def _some_aspect(cls, value: bool, info: ValidationInfo) -> bool:
        others = (info.data.get("completeness", True), info.data.get("factuality", True))
        if not value and not any(others):
            raise ValueError("true here, or in perturb.completeness or perturb.factuality: no pair is left")
        return value

    @property
    def aspects(self) -> frozenset[Aspect]:
        """The aspects that are on."""
        return frozenset(aspect for aspect in ASPECTS if getattr(self, aspect))


class ExtractStage(Selection):
    """What the extract stage reads."""

    seed: Seed
    teacher: TeacherParams
    extract: ExtractParams


class ScoreStage(Selection):
    """What the score stage reads."""

    model: ModelParams
    score: ScoreParams


class RewriteStage(Selection):
    """What the rewrite stage reads."""

    seed: Seed
    teacher: TeacherParams
    rewrite: RewriteParams


class PerturbStage(Selection):
    """What the perturb stage reads."""

    seed: Seed
    teacher: TeacherParams
    perturb: PerturbParams
