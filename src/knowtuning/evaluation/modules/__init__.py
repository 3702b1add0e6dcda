"""What the metrics of this folder share: the frame that the `evaluate` library wants of a text metric."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from typing import Any

import datasets
import evaluate


class TextMetric(evaluate.Metric, ABC):  # type: ignore[misc]
    """A metric of predictions against one reference each, both texts.

    Its docstring is what the library shows. Abstract, since the library takes the first class of a module
    that is not for its metric.
    """

    @abstractmethod
    def _compute(self, *texts: Any, **settings: Any) -> dict[str, Any]:
        """The scores, by name."""

    def _info(self) -> evaluate.MetricInfo:
        texts = {"predictions": datasets.Value("string"), "references": datasets.Value("string")}
        return evaluate.MetricInfo(
            description=inspect.getdoc(type(self)),
            citation="",
            features=datasets.Features(texts),
        )
