"""Parameters of the probe of log-probabilities."""

from __future__ import annotations

from pydantic import Field

from knowtuning.config.predict import ComparedSystems
from knowtuning.config.teacher import MaxRejected, TeacherParams
from knowtuning.core.params import ModelParams, Section, Seed, Share


class ProbeParams(Section):
    """Whether a model holds the truth more probable than what the teacher makes of it; no judge."""

    limit: int | None = Field(
        ge=0, description="probe only the first of the predicted questions; null: all, 0: none, no teacher"
    )
    beta_delete: Share = Field(description="share of its facts that an incomplete answer lacks, at least one")
    max_rejected: MaxRejected


class ProbeStage(ComparedSystems):
    seed: Seed
    model: ModelParams
    teacher: TeacherParams
    probe: ProbeParams
