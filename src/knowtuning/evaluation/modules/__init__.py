"""What the metrics of this folder share: the frame that the `evaluate` library wants of a text metric."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import datasets
import evaluate


class TextMetric(evaluate.Metric, ABC):  # type: ignore[misc]
    """A metric of predictions against one reference each, both texts.

    about, inputs: what the library shows as the metric's description and arguments. Abstract, since the
    library takes the first class of a module that is not for its metric.
    """

    about = ""
    inputs = ""

    @abstractmethod
    def _compute(self, *texts: Any, **settings: Any) -> dict[str, Any]:
        """The scores, by name."""

    def _info(self) -> evaluate.MetricInfo:
        texts = {"predictions": datasets.Value("string"), "references": datasets.Value("string")}
        return evaluate.MetricInfo(
            description=self.about,
            citation="",
            inputs_description=self.inputs,
            features=datasets.Features(texts),
        )
