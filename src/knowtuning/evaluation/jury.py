"""Who verifies facts and compares answers in this run, and whether too much was left without a verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from knowtuning.core.records import Example, Prediction, System
from knowtuning.evaluation.answers import Checked, Scores, Verifier
from knowtuning.evaluation.judgements import Judgement, Pair, judge_pairs
from knowtuning.evaluation.judges import ExactJudge, TeacherJudge
from knowtuning.evaluation.verification import check_answers
from knowtuning.teacher.tasks import Teacher


@dataclass(frozen=True)
class Jury:
    """A ground truth, or a teacher in its place, or neither; `status` is "computed" or says why not."""

    truth: Verifier | None
    teacher: Teacher | None
    status: str

    def check(
        self, examples: Sequence[Example], predictions: Mapping[System, Sequence[Prediction]]
    ) -> dict[System, list[Checked]]:
        """What the teacher says about every answer's facts; nothing where there is no teacher."""
        return check_answers(examples, predictions, self.teacher) if self.teacher else {}

    def compare(
        self,
        examples: Sequence[Example],
        predictions: Mapping[System, Sequence[Prediction]],
        pairs: Sequence[Pair],
    ) -> list[Judgement]:
        """The judgements of every pair of systems; none where there is no judge."""
        texts = {system: [one.answer for one in given] for system, given in predictions.items()}
        if self.teacher:
            return judge_pairs(examples, texts, pairs, TeacherJudge(self.teacher))
        return judge_pairs(examples, texts, pairs, ExactJudge(self.truth)) if self.truth else []


def appoint(
    backend: Literal["exact", "openai", "none"], truth: Verifier | None, teacher: Teacher | None
) -> Jury:
    """The jury that `judge.backend` names. A ground truth serves the backend `exact` alone."""
    if backend == "openai":
        assert teacher is not None
        return Jury(None, teacher, "computed")
    if backend == "none":
        return Jury(None, None, "not computed: judge.backend is none")
    if truth is None:
        why = "the data carry no ground truth; judge.backend openai asks an LLM"
        return Jury(None, None, f"not computed: {why}")
    return Jury(truth, None, "computed")


def check_unjudged(
    rows: Sequence[Scores], judgements: Sequence[Judgement], limit: float, *, folder: Path
) -> None:
    """Raise ValueError when more than the share `limit` of answers or comparisons has no verdict.

    folder: where answers.jsonl and judgements.jsonl hold the reasons.
    """
    answers = (sum(bool(row.unscored) for row in rows), len(rows), "answers", "answers.jsonl")
    unjudged = sum(row.outcome == "unjudged" for row in judgements)
    pairs = (unjudged, len(judgements), "comparisons", "judgements.jsonl")
    for missing, total, what, name in (answers, pairs):
        if missing > limit * total:
            raise ValueError(
                f"{missing} of {total} {what} have no complete verdict, judge.max_unjudged allows {limit:g} "
                f"of them; see the reasons in {folder / name}, run again to ask for these alone, or raise it"
            )
