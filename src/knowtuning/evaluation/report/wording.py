"""What the report calls things: metrics, with the direction in which they improve, verdicts, systems."""

from __future__ import annotations

from dataclasses import dataclass

SYSTEM_NAMES = {
    "base": "base model, no fine-tuning",
    "sft": "plain fine-tuning, the baseline",
    "ka": "knowledge augmentation",
    "kc": "knowledge augmentation and comparison, the method",
}


@dataclass(frozen=True)
class Metric:
    """A metric's name and unit; better: 1 where more is better, -1 where less is, 0 where neither."""

    label: str
    unit: str
    better: int


_FACTS, _PERCENT = "per answer", "%"
METRICS = {
    "correct": Metric("Correct facts", _FACTS, 1),
    "incorrect": Metric("Incorrect facts", _FACTS, -1),
    "unverifiable": Metric("Unverifiable facts", _FACTS, -1),
    "unparsed": Metric("Unreadable sentences", _FACTS, -1),
    "unscored": Metric("Unscored answers", _PERCENT, 0),
    "duplicate": Metric("Repeated facts", _FACTS, -1),
    "total": Metric("Facts stated", _FACTS, 0),
    "percent_correct": Metric("Correct of stated, per answer", _PERCENT, 1),
    "percent_correct_pooled": Metric("Correct of stated, all answers", _PERCENT, 1),
    "completeness": Metric("Completeness", _PERCENT, 1),
    "recall": Metric("Reference facts stated", _PERCENT, 1),
    "order": Metric("Order", _PERCENT, 1),
    "meteor": Metric("METEOR", "0–100", 1),
    "meteor_no_synonyms": Metric("METEOR without synonyms", "0–100", 1),
    "rougeL": Metric("ROUGE-L", "0–100", 1),
    "words": Metric("Length", "words", 0),
    "truncated": Metric("Cut off at the token limit", _PERCENT, -1),
}
# The order in which figures and short tables look for metrics; they show the first few that a run has.
MAIN = (
    *("correct", "incorrect", "completeness", "recall", "order"),
    *("meteor", "meteor_no_synonyms", "bertscore", "rougeL", "words"),
)


def metric(name: str) -> Metric:
    """The wording of a metric; one that is not listed goes by its own name and has no direction."""
    return METRICS.get(name) or Metric(name.replace("_", " "), "", 1 if name.startswith("bertscore") else 0)


@dataclass(frozen=True)
class Verdict:
    """How a verdict on a fact looks. kind: its CSS class (good, bad, open, again, none); mark: a glyph."""

    label: str
    kind: str
    mark: str


_VERDICTS = {
    "correct": Verdict("correct", "good", "✓"),
    "supported": Verdict("correct", "good", "✓"),
    "incorrect": Verdict("incorrect", "bad", "✗"),
    "contradicted": Verdict("incorrect", "bad", "✗"),
    "unparsed": Verdict("unreadable", "open", "?"),
    "unverifiable": Verdict("unverifiable", "open", "?"),
    "not_supported": Verdict("unverifiable", "open", "?"),
    "duplicate": Verdict("repeated", "again", "="),
    "unscored": Verdict("unscored", "none", "–"),
}


def verdict(name: str) -> Verdict:
    """The look of a verdict; one that is not listed goes by its own name."""
    return _VERDICTS.get(name) or Verdict(name.replace("_", " "), "none", "–")
