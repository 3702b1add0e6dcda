"""KC on the model's own answers: of each question its best sample, against that sample made worse.

Beyond the paper: on-policy pairs, so that what the model learns to prefer is something that it would say.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from knowtuning.core.records import Example, Sample, Verified


def best_samples(samples: Mapping[str, Sequence[Sample]], verdicts: Iterable[Verified]) -> list[Example]:
    """Of each question the sample with most true facts, as its answer; of equal ones the first.

    Only samples that are not cut off and state nothing false, which would be learnt with the chosen side. A
    question without such a sample has none.
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
