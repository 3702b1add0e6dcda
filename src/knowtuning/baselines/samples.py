"""Sampled answers: by question, the pairs that their scores make, and the best of each question."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence

from knowtuning.core.records import Example, Pair, Prediction, Sample, Verified
from knowtuning.core.storage import digest
from knowtuning.core.tables import grouped


def by_question(samples: Iterable[Sample]) -> dict[str, list[Sample]]:
    """The samples of each question in the order of their numbers."""
    groups = grouped(samples, lambda sample: sample.source)
    return {source: sorted(group, key=lambda each: each.number) for source, group in groups.items()}


def as_predictions(
    examples: Sequence[Example], samples: Mapping[str, Sequence[Sample]]
) -> dict[str, list[Prediction]]:
    """The n samples of each question as the answers of n systems, "0" to "n - 1", which can be judged."""
    fields = {"question", "answer", "tokens", "truncated"}
    rows = [
        [Prediction(id=sample.source, **sample.model_dump(include=fields)) for sample in samples[example.id]]
        for example in examples
    ]
    return {str(number): list(column) for number, column in enumerate(zip(*rows, strict=True))}


def pair(baseline: str, chosen: Sample, rejected: Sample) -> Pair:
    """A preference for one of two samples of a question."""
    return Pair(
        id=f"{chosen.source}-{chosen.number}-{rejected.number}",
        source=chosen.source,
        aspect=baseline,
        question=chosen.question,
        chosen=chosen.answer,
        rejected=rejected.answer,
    )


def scored_pairs(
    baseline: str, samples: Sequence[Sample], scores: Mapping[str, float], *, most: int, seed: int
) -> list[Pair]:
    """Every two samples of a question with unequal scores, the higher one chosen (Tian et al. 2023, 3.3).

    scores: by id of the sample; one without a score makes no pair. most: pairs at most, drawn by hash.
    """
    scored = [sample for sample in samples if sample.id in scores]
    made = [
        pair(baseline, *sorted(two, key=lambda sample: -scores[sample.id]))
        for two in itertools.combinations(scored, 2)
        if scores[two[0].id] != scores[two[1].id]
    ]
    return drawn(made, most, seed)


def drawn(pairs: Sequence[Pair], most: int | None, seed: int) -> list[Pair]:
    """`most` of the pairs, those of lowest hash, in their order; None: all."""
    if most is None or len(pairs) <= most:
        return list(pairs)
    kept = {each.id for each in sorted(pairs, key=lambda each: digest(seed, "pairs", each.id))[:most]}
    return [each for each in pairs if each.id in kept]


def best_samples(samples: Mapping[str, Sequence[Sample]], verdicts: Iterable[Verified]) -> list[Example]:
    """Of each question the sample with most true facts, as its answer; of equal ones the first.

    For KC on-policy, beyond the paper. Only samples that are not cut off and state nothing false, which would
    be learnt with the chosen side; a question without such a sample has none.
    """
    rows = {(row.question, row.system): row for row in verdicts}
    best = []
    for source, group in samples.items():
        whole = [sample for sample in group if not sample.truncated]
        true = {sample: true_facts(rows[source, str(sample.number)]) for sample in whole}
        sample = max(true, key=lambda each: true[each], default=None)
        if sample is not None and true[sample]:
            best.append(Example(id=source, question=sample.question, answer=sample.answer))
    return best


def true_facts(row: Verified) -> int:
    """Distinct true facts of an answer; 0 where a statement is false, unreadable or without verdict."""
    verdicts = [sentence.verdict for sentence in row.sentences]
    return 0 if {"incorrect", "unparsed", "unscored"} & set(verdicts) else verdicts.count("correct")
