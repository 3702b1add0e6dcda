"""METEOR and ROUGE-L of answers against references, through the `evaluate` library's local modules."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from knowtuning.evaluation import wordnet

MODULES = Path(__file__).resolve().parent / "metrics"


@functools.cache
def load_metric(name: str, cache: Path) -> Any:
    """The metric of `metrics/<name>.py`, as the `evaluate` library loads it.

    cache: folder for the library's copy of the module; several processes may share it. The first
    folder a process names serves all its metrics, since Python imports the copies from there.
    """
    import evaluate

    modules = cache.resolve() / "modules"
    evaluate.config.HF_MODULES_CACHE = str(modules)
    return evaluate.load(
        str(MODULES / f"{name}.py"), cache_dir=str(cache.resolve() / "metrics"), keep_in_memory=True
    )


def meteor_name(nltk_data: Path) -> str:
    """`meteor`, or `meteor_no_synonyms` where NLTK finds no WordNet in `nltk_data` or its own folders."""
    return "meteor" if wordnet.available(nltk_data) else "meteor_no_synonyms"


def score(
    predictions: Sequence[str], references: Sequence[str], *, meteor: str, cache: Path
) -> dict[str, list[float]]:
    """Scores of each prediction in 0..100, under the names `meteor` (as given) and rougeL.

    meteor: what `meteor_name` returned.
    """
    texts = {"predictions": list(predictions), "references": list(references)}
    found = load_metric("meteor", cache).compute(**texts, synonyms=meteor == "meteor")
    rouge = load_metric("rouge_l", cache).compute(**texts)
    return {
        meteor: [100 * value for value in found["scores"]],
        "rougeL": [100 * value for value in rouge["scores"]],
    }
