"""FactTune (Tian et al. 2023): DPO on sampled answers, ranked by an estimate of how factual each is.

FS scores an answer by the share of its facts that a verifier finds supported; MC by how sure the base model
is of what they are about (confidence.py). Samples that were cut off make no pair, since training on one would
teach to end there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from knowtuning.baselines.samples import scored_pairs
from knowtuning.core.records import Pair, Sample, Verified

# Of a fact said again FActScore says what it said before.
SUPPORTED = ("correct", "duplicate")


@dataclass(frozen=True)
class Ranked:
    """What ranking came to. without: questions that give no pair, by reason."""

    pairs: list[Pair]
    without: Counter[str]


def supported_share(row: Verified) -> float | None:
    """Share (0..1) of an answer's facts that are supported; unverifiable ones are not.

    None where the answer states nothing, or a verdict is missing.
    """
    if not row.sentences or row.unscored:
        return None
    return sum(one.verdict in SUPPORTED for one in row.sentences) / len(row.sentences)


def mean_confidence(facts: Sequence[str], confidences: Mapping[str, float]) -> float | None:
    """Mean confidence (0..1) of an answer's facts, of those that have one; None where none has."""
    known = [confidences[fact] for fact in facts if fact in confidences]
    return fmean(known) if known else None


def rank(
    baseline: str,
    samples: Mapping[str, Sequence[Sample]],
    scores: Mapping[str, float],
    *,
    most: int,
    seed: int,
) -> Ranked:
    """The pairs of each question; scores: by id of the sample; most: of one question."""
    pairs: list[Pair] = []
    without: Counter[str] = Counter()
    for group in samples.values():
        whole = [sample for sample in group if not sample.truncated]
        made = scored_pairs(baseline, whole, scores, most=most, seed=seed)
        pairs += made
        if not made:
            scored = sum(sample.id in scores for sample in whole)
            without["all_scores_equal" if scored > 1 else "less_than_two_scored"] += 1
    return Ranked(pairs, without)
