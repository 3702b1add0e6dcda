"""Metrics of words: METEOR and ROUGE-L through the `evaluate` library's local modules, and content words."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from knowtuning.core.text import content_words

MODULES = Path(__file__).resolve().parent / "modules"


@functools.cache
def load_metric(name: str, cache: Path) -> Any:
    """The metric of `modules/<name>.py`, as the `evaluate` library loads it.

    cache: folder for the library's copy of the module; several processes may share it. The first
    folder a process names serves all its metrics, since Python imports the copies from there.
    """
    import evaluate

    modules = cache.resolve() / "modules"
    evaluate.config.HF_MODULES_CACHE = str(modules)
    return evaluate.load(
        str(MODULES / f"{name}.py"), cache_dir=str(cache.resolve() / "metrics"), keep_in_memory=True
    )


def meteor(
    predictions: Sequence[str], references: Sequence[str], *, synonyms: bool, cache: Path
) -> list[float]:
    """METEOR of each prediction in 0..100; with synonyms NLTK must find WordNet (wordnet.require)."""
    values = load_metric("meteor", cache).compute(
        predictions=list(predictions), references=list(references), synonyms=synonyms
    )
    return [100 * value for value in values["scores"]]


def rouge_l(predictions: Sequence[str], references: Sequence[str], *, cache: Path) -> list[float]:
    """ROUGE-L of each prediction in 0..100."""
    values = load_metric("rouge_l", cache).compute(predictions=list(predictions), references=list(references))
    return [100 * value for value in values["scores"]]


def content_share(first: Sequence[str], second: Sequence[str]) -> list[float]:
    """Of the content words of each text of `first`, those that its partner in `second` has too, in 0..100.

    A word counts as often as it occurs, and is found at most as often as the partner has it: one said again
    earns nothing. 0 where a text has no content word. Answers against references: precision; references
    against answers: recall.
    """
    pairs = zip(first, second, strict=True)
    counts = [tuple(Counter(content_words(text)) for text in pair) for pair in pairs]
    return [100.0 * (one & other).total() / max(1, one.total()) for one, other in counts]
