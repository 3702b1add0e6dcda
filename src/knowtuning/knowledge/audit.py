"""The shortcut audit: can chosen be told from rejected by form alone?

A classifier sees each text with its content masked (only function words, punctuation, word shapes and
lengths remain), so that what it finds is style, which preference training can exploit in place of
knowledge. Near 50 % of pairs: no shortcut of this kind. n-grams stay within a sentence: the order of the
sentences is what logicality pairs are about, and no matter of form.
"""

from __future__ import annotations

import functools
import itertools
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from knowtuning.core.records import Pair
from knowtuning.core.tables import grouped
from knowtuning.core.text import FUNCTION_WORDS
from knowtuning.evaluation.stats import Floats, Ratios, Resampling, estimates, length

_SENTENCE = re.compile(r"(?<=[.!?])\s+|\n+")
_TOKEN = re.compile(r"\d[\d.,]*\d|\d|\w+(?:['’]\w+)*|[^\w\s]")


def mask(text: str) -> list[list[str]]:
    """The form of a text: tokens per sentence, content replaced by its shape.

    Function words (lower case) and punctuation stay; other words become W when capitalised and w when
    not, numbers become 0.
    """
    sentences = [_TOKEN.findall(sentence) for sentence in _SENTENCE.split(text)]
    return [[_shape(token) for token in sentence] for sentence in sentences if sentence]


@functools.lru_cache(maxsize=65536)
def _shape(token: str) -> str:
    folded = token.replace("’", "'").casefold()
    if folded in FUNCTION_WORDS or not token[0].isalnum():
        return folded
    if token[0].isdigit():
        return "0"
    return "W" if token[0].isupper() else "w"


def form_features(text: str) -> Iterator[str]:
    """Masked tokens and pairs of them, which do not cross sentences; ^ and $ mark their ends."""
    for sentence in mask(text):
        framed = ["^", *sentence, "$"]
        yield from framed
        yield from (f"{first} {second}" for first, second in itertools.pairwise(framed))


def lengths(texts: Sequence[str]) -> Floats:
    """Lengths of texts, shape (texts, 4): words, sentences, words per sentence, characters per word."""
    rows = []
    for text in texts:
        words, sentences = length(text), len(mask(text))
        rows.append([words, sentences, words / max(sentences, 1), len(text) / max(words, 1)])
    return np.log1p(np.array(rows, dtype=np.float64))


def features(texts: Sequence[str], *, with_lengths: bool) -> Any:
    """Sparse matrix (texts, features): relative frequencies of form n-grams, and lengths where asked.

    n-grams of one text alone are left out; nothing here looks at which text is chosen.
    """
    from scipy.sparse import csr_matrix, hstack
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.preprocessing import normalize

    counts = CountVectorizer(analyzer=form_features, min_df=2).fit_transform(texts)
    frequencies = normalize(counts, "l1")
    return hstack([frequencies, csr_matrix(lengths(texts))]).tocsr() if with_lengths else frequencies


def held_out_scores(pairs: Sequence[Pair], folds: int, *, with_lengths: bool = True) -> tuple[Floats, Floats]:
    """Log-odds of being chosen, of every chosen and every rejected text, shape (pairs,) each.

    Logistic regression, cross-validated in folds grouped by source question, so that neither the two
    sides of a pair nor two pairs of a question are ever on both sides of the split.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GroupKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import MaxAbsScaler

    chosen, rejected = _sides(pairs)
    scores = cross_val_predict(
        make_pipeline(MaxAbsScaler(), LogisticRegression(max_iter=1000)),
        features([*chosen, *rejected], with_lengths=with_lengths),
        np.repeat([1, 0], len(pairs)),
        groups=[pair.source for pair in pairs] * 2,
        cv=GroupKFold(folds),
        method="decision_function",
    )
    return scores[: len(pairs)], scores[len(pairs) :]


# Marks of form that need no training, each a number of a text.
_NEGATION = re.compile(
    r"\b(?:not?|never|none|nobody|nothing|neither|nor|without|cannot|\w+n['’]t)\b", re.IGNORECASE
)
LENGTH = ("words", "sentences")
MARKS: dict[str, Callable[[str], int]] = {
    "words": length,
    "sentences": lambda text: len(mask(text)),
    "negations": lambda text: len(_NEGATION.findall(text)),
    "line breaks": lambda text: text.count("\n"),
    "question marks": lambda text: text.count("?"),
}


def marks(pairs: Sequence[Pair]) -> dict[str, float]:
    """Share (%) of pairs that each mark of form alone tells, as well one way as the other; 50 is chance.

    opening words: whether texts that begin so were chosen or rejected in the other pairs.
    """
    shares = {name: _share_told(*_numbers(pairs, count)) for name, count in MARKS.items()}
    openings = [[tuple(text.split()[:2]) for text in texts] for texts in _sides(pairs)]
    chosen, rejected = (Counter(side) for side in openings)
    scores = [
        [chosen[o] - (o == one) - rejected[o] + (o == other) for o in (one, other)]
        for one, other in zip(*openings, strict=True)
    ]
    shares["opening words"] = _share_told(*np.array(scores, dtype=np.float64).T)
    return {name: round(value, 2) for name, value in shares.items()}


def _sides(pairs: Sequence[Pair]) -> tuple[list[str], list[str]]:
    return [pair.chosen for pair in pairs], [pair.rejected for pair in pairs]


def _share_told(chosen: Floats, rejected: Floats) -> float:
    share = float(_wins(chosen, rejected).mean())
    return max(share, 100 - share)


def warning(aspect: str, rates: dict[str, Any], limit: float) -> str | None:
    """A line where form alone tells more than the share `limit` (0..1) of an aspect's pairs; else None."""
    if rates["status"] != "computed":
        return None
    # What is missing makes the rejected side of completeness shorter, with fewer words that link sentences:
    # that is no shortcut, so there single marks count.
    by_length = aspect == "completeness"
    shares = {mark: share for mark, share in rates["marks"].items() if not (by_length and mark in LENGTH)}
    mark = max(shares, key=lambda each: shares[each])
    share = shares[mark] if by_length else rates["accuracy"]
    if share <= 100 * limit:
        return None
    return (
        f"form alone tells chosen from rejected in {share:.0f} % of {aspect} pairs (most by itself: "
        f"{mark}, {shares[mark]:.0f} %); training can win on form in place of knowledge"
    )


def _wins(chosen: Floats, rejected: Floats) -> Floats:
    """100 where chosen scores higher, 50 for a tie, 0 where lower."""
    return 50 * (1 + np.sign(chosen - rejected))


def _numbers(pairs: Sequence[Pair], count: Callable[[str], int]) -> tuple[Floats, Floats]:
    """A number of each chosen and of each rejected text."""
    chosen, rejected = (np.array([count(text) for text in side], np.float64) for side in _sides(pairs))
    return chosen, rejected


def audit_pairs(pairs: Sequence[Pair], *, folds: int, how: Resampling) -> dict[str, Any]:
    """Audit of one aspect's pairs; all rates in 0..100, chance is 50.

    accuracy: held-out pairs whose chosen text looks more like a chosen one, by form and length;
    style_accuracy: the same without lengths; length_accuracy: pairs whose chosen text has more words, a
    guess that needs no training. text_accuracy: single texts told right by form and length. Each has its
    bootstrap interval over pairs, `_low` and `_high`. marks: what single marks of form tell. For
    completeness, length is a consequence of the missing facts and no shortcut: look at style_accuracy.
    """
    sources = len({pair.source for pair in pairs})
    if sources < folds:
        return {"status": f"not computed: {sources} questions for {folds} folds", "pairs": len(pairs)}
    chosen, rejected = held_out_scores(pairs, folds)
    sides = {
        "accuracy": (chosen, rejected),
        "style_accuracy": held_out_scores(pairs, folds, with_lengths=False),
        "length_accuracy": _numbers(pairs, length),
    }
    metrics: dict[str, Any] = {"status": "computed", "pairs": len(pairs), "chance": 50.0}
    values = {name: _wins(first, second) for name, (first, second) in sides.items()}
    values["text_accuracy"] = 50.0 * ((chosen > 0).astype(float) + (rejected < 0))
    table = np.column_stack(list(values.values()))
    for name, estimate in zip(values, estimates(Ratios.of_means(table), how, "audit"), strict=True):
        metrics |= estimate.flat(name)
    return metrics | {"marks": marks(pairs)}


def audit(pairs: Sequence[Pair], *, folds: int, how: Resampling) -> dict[str, dict[str, Any]]:
    by_aspect = grouped(pairs, lambda pair: pair.aspect)
    return {aspect: audit_pairs(by_aspect[aspect], folds=folds, how=how) for aspect in sorted(by_aspect)}
