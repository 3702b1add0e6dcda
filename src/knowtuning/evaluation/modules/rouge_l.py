"""ROUGE-L as a module of the `evaluate` library: the F measure of the `rouge_score` package, faster.

Load it by its absolute path. It needs no network.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from rouge_score.tokenizers import DefaultTokenizer

from knowtuning.core.text import is_latin, words
from knowtuning.evaluation.modules import TextMetric


def longest_common(first: Sequence[str], second: Sequence[str]) -> int:
    """Length of the longest common subsequence.

    Bit-parallel (Hyyrö, 2004): bit i of `row` is 0 where the length grows at first[i], so that one
    addition of long integers fills a row of the usual table.
    """
    positions: Counter[str] = Counter()
    for index, token in enumerate(first):
        positions[token] += 1 << index
    every = (1 << len(first)) - 1
    row = every
    for token in second:
        matched = row & positions[token]
        row = ((row + matched) | (row - matched)) & every
    return len(first) - row.bit_count()


def rouge_l(reference: Sequence[str], prediction: Sequence[str]) -> float:
    """F measure, 0..1; 0 where one of the two has no token."""
    common = longest_common(reference, prediction)
    return 2 * common / (len(reference) + len(prediction)) if common else 0.0


class RougeL(TextMetric):
    """ROUGE-L (Lin, 2004) on whole texts without stemming, the default of `evaluate`'s rouge.

    F measure of the longest common subsequence of tokens, tokenised by `rouge_score`, which knows Latin
    letters alone; texts with others are split into words, or characters where no spaces are.
    predictions, references: texts, one of each per item. Returns scores, 0..1, one per item.
    """

    def _compute(self, predictions: list[str], references: list[str]) -> dict[str, list[float]]:
        english = DefaultTokenizer(use_stemmer=False).tokenize

        def tokenise(text: str) -> list[str]:
            # Signs alone, such as emoji, are words to nobody: split at spaces they can at least be equal.
            return (english(text) if is_latin(text) else words(text)) or text.split()

        pairs = zip(references, predictions, strict=True)
        return {"scores": [rouge_l(tokenise(first), tokenise(second)) for first, second in pairs]}
