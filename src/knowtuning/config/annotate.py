"""What `stages/annotate.py` reads of params.yaml; what it needs beyond that are arguments."""

from __future__ import annotations

from pydantic import Field

from knowtuning.config.predict import Baselines, FirstVersion, PredictedSplit
from knowtuning.core.params import Seed, Selection


class Intervals(Selection):
    """How sure the rates are."""

    resamples: int = Field(ge=1000)
    confidence: float = Field(gt=0.5, lt=1)


class Annotation(Selection):
    """Whose answers people compare, and how sure the rates are."""

    seed: Seed
    baselines: Baselines
    first_version: FirstVersion
    predict: PredictedSplit
    evaluate: Intervals
