"""RLAIF as a baseline: DPO on two sampled answers that a judge compares (Lee et al. 2023, by DPO).

Inferred: the paper names RLAIF without its settings. Here the judge is asked for overall quality in both
orders, and a pair counts where they agree; it does not see the reference answer unless params say so.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from knowtuning.baselines.samples import pair
from knowtuning.core.records import Example, Judgement, Pair, Sample
from knowtuning.knowledge.aspects import OVERALL
from knowtuning.verification.judgements import PairJudge, judge_pairs

Two = tuple[Sample, Sample]
NAME = "rlaif"


@dataclass(frozen=True)
class Compared:
    """What comparing came to. without: questions that give no pair, by reason."""

    pairs: list[Pair]
    judgements: list[Judgement]
    without: Counter[str]


def first_two(samples: Sequence[Sample]) -> Two | None:
    """The first two samples that differ and were not cut off; None where all that were not are equal."""
    whole = [sample for sample in samples if not sample.truncated]
    for other in whole[1:]:
        if other.answer.split() != whole[0].answer.split():
            return whole[0], other
    return None


def compare(
    examples: Sequence[Example], samples: Mapping[str, Sequence[Sample]], judge: PairJudge
) -> Compared:
    """A pair of each question on whose two samples the judge says the same in both orders."""
    drawn = {example.id: first_two(samples[example.id]) for example in examples}
    twos = {source: two for source, two in drawn.items() if two is not None}
    asked = [example for example in examples if example.id in twos]
    answers = {side: [twos[example.id][int(side)].answer for example in asked] for side in ("0", "1")}
    judgements = judge_pairs(asked, answers, [("0", "1")], judge, [OVERALL])
    pairs, without = [], Counter({"no_two_whole_samples_differ": len(examples) - len(asked)})
    for row in judgements:
        first, second = twos[row.question]
        if row.outcome == "win":
            pairs.append(pair(NAME, first, second))
        elif row.outcome == "lose":
            pairs.append(pair(NAME, second, first))
        elif row.outcome == "unjudged":
            without["unjudged"] += 1
        else:
            without["judge_calls_it_a_tie" if row.forward == row.backward else "orders_disagree"] += 1
    return Compared(pairs, judgements, without)
