"""Scores of single answers: one record per question and system, the ground of every average.

A score that an answer does not define (the order of fewer than two facts, the share of correct facts
where none is stated) is null in the record, leaves the mean, and is visible in that mean's `<name>_n`.
"""

from __future__ import annotations

from collections.abc import Mapping

from knowtuning.core.records import Example, Probed, Scores, Verified
from knowtuning.evaluation.metrics import Answers, compute


def score_answers(
    answers: Answers,
    system: str,
    verified: Mapping[str, Verified],
    probed: Mapping[str, Probed] | None = None,
) -> list[Scores]:
    """Scores of a system's answers: those of verification and the probe, by question id, and every metric's.

    probed: some of the questions, or none; scores of the probe are null for the others, or nobody has any.
    """
    values, probed = compute(answers), probed or {}
    unprobed = {name: None for row in probed.values() for name in row.scores}
    rows = []
    for index, example in enumerate(answers.examples):
        found = verified[example.id]
        tested = probed[example.id].scores if example.id in probed else unprobed
        computed = {name: each[index] for name, each in values.items()}
        rounded = {name: None if value is None else round(value, 4) for name, value in computed.items()}
        rows.append(
            Scores(
                id=f"{example.id}/{system}",
                question=example.id,
                system=system,
                groups=groups_of(example),
                scores=found.scores | tested | rounded,
                sentences=found.sentences,
                unscored=found.unscored,
            )
        )
    return rows


def groups_of(example: Example) -> dict[str, str]:
    """The strata of a question that its source names."""
    return {key: str(example.meta[key]) for key in ("kind", "stratum") if key in example.meta}
