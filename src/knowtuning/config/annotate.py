"""What `stages/annotate.py` reads of params.yaml; what it needs beyond that are arguments."""

from __future__ import annotations

from knowtuning.config import Selection
from knowtuning.config.evaluation import EvaluateParams, PredictedSplit


class Annotation(Selection):
    """Whose answers people compare, and how sure the rates are."""

    seed: int
    predict: PredictedSplit
    evaluate: EvaluateParams
