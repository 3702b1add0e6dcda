"""The scores of an answer: one entry a metric, with what a reader must know to read it.

Metrics with a function are computed from the answers; the others are counts and rates that verification
(verdicts.jsonl) and the probe (scores.jsonl) bring. A new text metric is one entry here (docs/extend.md).

A score that an answer does not define (the order of fewer than two facts, the share of correct facts where
none is stated) is null in the record, leaves the mean, and is visible in that mean's `<name>_n`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

from knowtuning.core.records import Example, Prediction, Probed, Scores, Verified
from knowtuning.core.tables import entry
from knowtuning.core.text import first_words, repeated_share, words
from knowtuning.evaluation.encoders import Encoder, bertscore, similarity
from knowtuning.evaluation.lexical import content_share, meteor, rouge_l
from knowtuning.evaluation.stats import length

Kind = Literal["exact", "text"]


@dataclass(frozen=True)
class MetricInputs:
    """One system's answers and what their metrics may need.

    cache: folder for the copies that the `evaluate` library makes of its modules. synonyms:
    evaluate.meteor_synonyms. encoder: of BERTScore, sentences: of whole texts; on `device`.
    """

    examples: Sequence[Example]
    predictions: Sequence[Prediction]
    cache: Path
    synonyms: bool = False
    encoder: Encoder | None = None
    sentences: Encoder | None = None
    device: str = "cpu"

    @property
    def texts(self) -> list[str]:
        """The answers, in the order of the questions."""
        return [prediction.answer for prediction in self.predictions]

    @property
    def references(self) -> list[str]:
        """The reference answers, in the order of the questions."""
        return [example.answer for example in self.examples]

    def at_equal_length(self) -> MetricInputs:
        """The same with every answer cut after as many words as its reference has; shorter ones stay.

        Not back to the end of a sentence: that would leave cut answers shorter than whole ones.
        """
        cut = [
            prediction.model_copy(update={"answer": first_words(prediction.answer, len(words(reference)))})
            for prediction, reference in zip(self.predictions, self.references, strict=True)
        ]
        return replace(self, predictions=cut)


Compare = Callable[[list[str], list[str]], list[float]]


@dataclass(frozen=True)
class Metric:
    """A metric's label and unit; better: 1 where more is better, -1 where less is, 0 where neither.

    leads: the kinds of runs whose headline shows it: exact, where a ground truth verifies, and text.
    function: a value an answer, None where it defines none. compare: what compares answers with references,
    so that the table has it at equal length too; None where this run does not. variant: what makes its
    numbers another quantity, such as an encoder; it becomes part of the score's name.
    """

    label: str
    unit: str
    better: Literal[1, 0, -1]
    leads: tuple[Kind, ...] = ()
    function: Callable[[MetricInputs], Sequence[float | None] | None] | None = None
    compare: Callable[[MetricInputs], Compare | None] | None = None
    variant: Callable[[MetricInputs], str] | None = None

    def values(self, answers: MetricInputs) -> Sequence[float | None] | None:
        """A value an answer, None where it defines none; None in place of all where this run has none."""
        if self.compare is None:
            return self.function(answers) if self.function else None
        compare = self.compare(answers)
        if compare is None:
            return None
        # An answer whose question has no reference has nothing to be compared with.
        pairs = list(zip(answers.texts, answers.references, strict=True))
        compared = [pair for pair in pairs if pair[1].strip()]
        texts, references = [text for text, _ in compared], [reference for _, reference in compared]
        values = iter(compare(texts, references) if compared else [])
        return [next(values) if reference.strip() else None for _, reference in pairs]


def _at_equal_length(whole: Metric) -> Metric:
    """The metric of answers cut to the length of their references."""
    return replace(
        whole,
        label=f"{whole.label} at equal length",
        leads=(),
        function=lambda answers: whole.values(answers.at_equal_length()),
        compare=None,
    )


# The strata of a question that its source may name.
STRATA = ("kind", "stratum")
EQUAL_LENGTH = "_equal_length"
_FACTS, _PERCENT = "per answer", "%"
METRICS: dict[str, Metric] = {
    "correct": Metric("Correct facts", _FACTS, 1, ("exact", "text")),
    "incorrect": Metric("Incorrect facts", _FACTS, -1, ("exact", "text")),
    "unverifiable": Metric("Unverifiable facts", _FACTS, -1),
    "unparsed": Metric("Unreadable sentences", _FACTS, -1),
    "duplicate": Metric("Repeated facts", _FACTS, -1),
    "percent_correct": Metric("Correct of stated, per answer", _PERCENT, 1),
    "percent_correct_pooled": Metric("Correct of stated, all answers", _PERCENT, 1),
    "f1_at_k": Metric("F1@K of facts", _PERCENT, 1, ("exact", "text")),
    "unscored": Metric("Unscored answers", _PERCENT, 0),
    "completeness": Metric("Completeness", _PERCENT, 1, ("exact",)),
    "recall": Metric("Reference facts stated", _PERCENT, 1, ("text",)),
    "order": Metric("Order", _PERCENT, 1, ("exact",)),
    "probe_factuality": Metric("True facts above false ones (probe)", _PERCENT, 1, ("exact", "text")),
    "probe_completeness": Metric("Whole answers above incomplete ones (probe)", _PERCENT, 1),
    "probe_logicality": Metric("Answers above shuffled ones (probe)", _PERCENT, 1),
    "bertscore": Metric(
        *("BERTScore", "100 × F", 1, ("text",)),
        compare=lambda run: (
            partial(bertscore, encoder=run.encoder, device=run.device, cache=run.cache)
            if run.encoder
            else None
        ),
        variant=lambda run: run.encoder.variant if run.encoder else "",
    ),
    "similarity": Metric(
        *("Sentence similarity", "100 × cosine", 1, ("text",)),
        compare=lambda run: (
            partial(similarity, encoder=run.sentences, device=run.device) if run.sentences else None
        ),
        variant=lambda run: run.sentences.variant if run.sentences else "",
    ),
    "meteor": Metric(
        *("METEOR", "0–100", 1, ("text",)),
        compare=lambda run: partial(meteor, synonyms=True, cache=run.cache) if run.synonyms else None,
    ),
    "meteor_no_synonyms": Metric(
        *("METEOR without synonyms", "0–100", 1, ("text",)),
        compare=lambda run: None if run.synonyms else partial(meteor, synonyms=False, cache=run.cache),
    ),
    "rougeL": Metric("ROUGE-L", "0–100", 1, compare=lambda run: partial(rouge_l, cache=run.cache)),
    "content_precision": Metric("Content-word precision", _PERCENT, 1, compare=lambda run: content_share),
    "content_recall": Metric(
        *("Content-word recall", _PERCENT, 1),
        compare=lambda run: lambda texts, references: content_share(references, texts),
    ),
    "words": Metric(
        *("Length", "words", 0, ("exact", "text")),
        function=lambda answers: [float(length(text)) for text in answers.texts],
    ),
    "repeated": Metric(
        *("Repeated, in runs of four words", _PERCENT, -1, ("exact", "text")),
        function=lambda answers: [100.0 * repeated_share(text) for text in answers.texts],
    ),
    "truncated": Metric(
        *("Cut off at the token limit", _PERCENT, -1, ("exact", "text")),
        function=lambda answers: [100.0 * prediction.truncated for prediction in answers.predictions],
    ),
}
METRICS |= {name + EQUAL_LENGTH: _at_equal_length(each) for name, each in METRICS.items() if each.compare}


def metric(name: str) -> Metric:
    """The metric of a score's name, which may end in a variant in brackets. Raises ValueError."""
    return entry(METRICS, name.partition("(")[0], "metric")


def label(name: str) -> str:
    """What tables call a score: the metric's label and, in brackets, its variant."""
    _, bracket, variant = name.partition("(")
    return f"{metric(name).label} {bracket}{variant}".strip()


def label_and_unit(name: str) -> str:
    """What charts call a score: its label and its unit."""
    return ", ".join(filter(None, [label(name), metric(name).unit]))


def compute(answers: MetricInputs) -> dict[str, list[float | None]]:
    """Every metric that has a function and is on in this run: score name -> a value an answer."""
    scores: dict[str, list[float | None]] = {}
    for name, each in METRICS.items():
        values = each.values(answers)
        if values is not None:
            if len(values) != len(answers.examples):
                raise ValueError(
                    f"metric {name}: found {len(values)} values for {len(answers.examples)} answers"
                )
            odd = [value for value in values if value is not None and not math.isfinite(value)]
            if odd:
                raise ValueError(
                    f"metric {name}: found {odd[0]}, expected a number, or None where there is none"
                )
            scores[name + (each.variant(answers) if each.variant else "")] = list(values)
    return scores


def leading(names: Sequence[str]) -> list[str]:
    """The scores of `names` that headlines show, in the order of the table."""
    kind: Kind = "exact" if "completeness" in names else "text"
    order = list(METRICS)
    shown = [name for name in names if kind in metric(name).leads]
    return sorted(shown, key=lambda name: order.index(name.partition("(")[0]))


def score_answers(
    answers: MetricInputs,
    system: str,
    verified: Iterable[Verified],
    probed: Iterable[Probed] = (),
) -> list[Scores]:
    """Scores of a system's answers: those of verification and the probe, and every metric's.

    probed: some of the questions, or none; scores of the probe are null for the others, or nobody has any.
    """
    values, verdicts_on = compute(answers), {row.question: row for row in verified}
    tests = {row.question: row.scores for row in probed}
    untested = {name: None for scores in tests.values() for name in scores}
    rows = []
    for index, example in enumerate(answers.examples):
        verdicts, tested = verdicts_on[example.id], tests.get(example.id, untested)
        computed = {name: each[index] for name, each in values.items()}
        rounded = {name: None if value is None else round(value, 4) for name, value in computed.items()}
        rows.append(
            Scores(
                id=f"{example.id}/{system}",
                question=example.id,
                system=system,
                groups={key: str(example.meta[key]) for key in STRATA if key in example.meta},
                scores=verdicts.scores | tested | rounded,
                sentences=verdicts.sentences,
                unscored=verdicts.unscored,
            )
        )
    return rows
