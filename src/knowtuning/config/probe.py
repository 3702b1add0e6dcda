"""Parameters of the probe of log-probabilities."""

from __future__ import annotations

from pydantic import Field

from knowtuning.config.predict import Baselines, FirstVersion, PredictedSplit
from knowtuning.config.teacher import TeacherParams
from knowtuning.core.params import ModelParams, Section, Seed, Selection


class ProbeParams(Section):
    """Whether a model holds the truth more probable than what the teacher makes of it; no judge."""

    limit: int | None = Field(
        ge=0, description="probe only the first of the predicted questions; null: all, 0: none, no teacher"
    )
    beta_delete: float = Field(
        ge=0,
        le=1,
        description="share of its facts that an incomplete answer lacks, at least one (0..1)",
    )
    max_rejected: float = Field(
        ge=0, le=1, description="largest share of rows that may be rejected before the stage fails (0..1)"
    )


class ProbeStage(Selection):
    """The keys of params.yaml that the probe stage reads."""

    seed: Seed
    model: ModelParams
    teacher: TeacherParams
    baselines: Baselines
    first_version: FirstVersion
    predict: PredictedSplit
    probe: ProbeParams
