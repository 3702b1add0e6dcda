"""A probe without a judge: which of two texts does a model hold more probable, the true or the spoilt one?

The texts are those of perturb, made from held-out answers: a fact and its revision, and an answer's facts
against those that are left, and against those in another order. An answer stands as its facts joined, on both
sides, so that form tells nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from knowtuning.core.records import Facts, Pair, Probed, Rejected
from knowtuning.core.text import normal_form
from knowtuning.evaluation.stats import Ratios, Resampling, estimates
from knowtuning.knowledge.aspects import ASPECTS, Perturbation, join
from knowtuning.knowledge.perturb import task_replies
from knowtuning.knowledge.results import reject
from knowtuning.model.prompt import Formatter
from knowtuning.teacher.tasks import Failure, Teacher

# The metric of each aspect that is probed.
PROBES = {
    "factuality": "probe_factuality",
    "completeness": "probe_completeness",
    "logicality": "probe_logicality",
}
# Facts are compared whole, since a true value may be short or long; answers per token.
_WHOLE = "factuality"
Tokens = tuple[list[int], list[int]]


def contrasts(records: Sequence[Facts], teacher: Teacher, how: Perturbation) -> Iterator[Pair | Rejected]:
    """The pairs of each aspect: one an answer, for factuality one a fact that the teacher changed."""
    for name in PROBES:
        aspect, replies = ASPECTS[name], task_replies(records, teacher, name, how)
        for record in records:
            if len(record.facts) < aspect.least:
                continue
            reply = replies.get(record.id)
            spoilt = reply if isinstance(reply, Failure) else aspect.reject(record, how, reply)
            if isinstance(spoilt, Failure):
                yield reject(f"{record.id}-{name}", spoilt, record)
            else:
                yield from _pairs(record, name, spoilt or record.facts)


def _pairs(record: Facts, aspect: str, spoilt: Sequence[str | None]) -> Iterator[Pair]:
    """Of the facts and what replaces them; none where both are equal."""
    sides = [(join(record.facts), join(spoilt))]
    if aspect == _WHOLE:
        sides = [(fact, other or "") for fact, other in zip(record.facts, spoilt, strict=True)]
    sides = [(fact, other) for fact, other in sides if normal_form(fact) != normal_form(other)]
    for number, (chosen, rejected) in enumerate(sides, 1):
        yield Pair(
            id=f"{record.id}-{aspect}-{number:02}",
            source=record.id,
            aspect=aspect,
            question=record.question,
            chosen=chosen,
            rejected=rejected,
        )


def fitting(
    rows: Iterable[Pair | Rejected], formatter: Formatter, *, context: int
) -> Iterator[Pair | Rejected]:
    """The rows, with those pairs rejected that do not fit into `context` tokens with their prompt."""
    for row in rows:
        texts = sides(row, formatter) if isinstance(row, Pair) else ()
        longest = max((len(prompt) + len(text) for prompt, text in texts), default=0)
        if longest > context:
            reason = f"prompt and text have {longest} tokens; expected {context} at most"
            yield reject(row.id, Failure(reason=reason), row)
        else:
            yield row


def sides(pair: Pair, formatter: Formatter) -> tuple[Tokens, Tokens]:
    """Both texts behind the prompt of their question, as (prompt, completion) tokens, chosen first.

    Without the end of the answer: a model that has learnt to end late would hold every short answer for
    improbable, and be right about incomplete ones for the wrong reason.
    """
    prompt = formatter.prompt(pair.question)
    chosen, rejected = (formatter.completion(text, end=False) for text in (pair.chosen, pair.rejected))
    return (prompt, chosen), (prompt, rejected)


def preference(pair: Pair, logps: Sequence[float], tokens: Sequence[int]) -> float:
    """100 where the chosen text is the more probable, 50 where both are equally so, else 0.

    logps, tokens: summed log-probability (nats) and number of tokens of the chosen and the rejected text.
    Raises ValueError where a log-probability is not finite.
    """
    if not all(map(math.isfinite, logps)):
        raise ValueError(f"{pair.id}: the log-probabilities are {list(logps)}; check the model's weights")
    whole = pair.aspect == _WHOLE
    chosen, rejected = (value / (1 if whole else n) for value, n in zip(logps, tokens, strict=True))
    return 50.0 * (1 + (chosen > rejected) - (chosen < rejected))


def probed(
    pairs: Sequence[Pair], preferences: Sequence[float], system: str, questions: Sequence[str]
) -> list[Probed]:
    """The scores of a system, a record a question: the mean preference of its pairs, by aspect."""
    by_question: dict[str, dict[str, list[float]]] = {question: {} for question in questions}
    for pair, value in zip(pairs, preferences, strict=True):
        by_question[pair.source].setdefault(PROBES[pair.aspect], []).append(value)
    return [
        Probed(
            id=f"{question}/{system}",
            question=question,
            system=system,
            scores={
                name: round(sum(shares[name]) / len(shares[name]), 4) if name in shares else None
                for name in PROBES.values()
            },
        )
        for question, shares in by_question.items()
    ]


def summarise(rows: Mapping[str, Sequence[Probed]], how: Resampling) -> dict[str, Any]:
    """system -> metric -> accuracy (0..100), a mean over the n questions that have a pair, with interval."""
    names, summary = list(PROBES.values()), {}
    for system, probes in rows.items():
        if probes:
            table = np.array([[row.scores[name] for name in names] for row in probes], dtype=np.float64)
            means = zip(names, estimates(Ratios.of_means(table), how, "probe"), strict=True)
            summary[system] = {name: {**mean.flat("accuracy"), "n": mean.n} for name, mean in means}
    return summary
