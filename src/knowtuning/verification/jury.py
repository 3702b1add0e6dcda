"""Who verifies facts and compares answers in this run, and whether too much was left without a verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from knowtuning.config.verify import JudgedBy, local_paths
from knowtuning.core.params import check_watched
from knowtuning.core.records import Example, Judgement, Prediction, Verified
from knowtuning.teacher.tasks import Teacher
from knowtuning.teacher.teachers import Setting, open_teacher
from knowtuning.verification.answer_facts import check_answers
from knowtuning.verification.exact import verify
from knowtuning.verification.judgements import ExactJudge, Matchup, PairJudge, TeacherJudge, judge_pairs
from knowtuning.verification.passages import KnowledgeSource, knowledge_source
from knowtuning.world.verifier import Truth

# Verdicts from which on a preference for one position is no chance, and the share that is one.
_ENOUGH, _ONE_SIDED = 20, 0.9

Predictions = Mapping[str, Sequence[Prediction]]


@dataclass(frozen=True)
class Jury:
    """A ground truth, or a teacher in its place, or neither; `status` is "computed" or says why not.

    source: what the teacher holds facts against beside the reference answer.
    """

    truth: Truth | None
    teacher: Teacher | None
    status: str
    source: KnowledgeSource | None = None

    def verify(
        self, examples: Sequence[Example], predictions: Predictions, *, recall: bool = True
    ) -> list[Verified]:
        """The verdicts on the facts of every answer, by system; without scores where nobody verifies.

        recall: whether a teacher looks for the reference answer's facts too.
        """
        if self.teacher:
            return check_answers(examples, predictions, self.teacher, recall=recall, source=self.source)
        answers = [
            (example, system, one.answer)
            for system, predicted in predictions.items()
            for example, one in zip(examples, predicted, strict=True)
        ]
        if self.truth:
            return [verify(example, system, answer, self.truth) for example, system, answer in answers]
        return [
            Verified(id=f"{example.id}/{system}", question=example.id, system=system, scores={})
            for example, system, _ in answers
        ]

    def compare(
        self, examples: Sequence[Example], predictions: Predictions, matchups: Sequence[Matchup]
    ) -> list[Judgement]:
        """The judgements of every two systems of `matchups`; none where there is no judge."""
        texts = {system: [one.answer for one in predicted] for system, predicted in predictions.items()}
        judge = self.judge()
        return judge_pairs(examples, texts, matchups, judge) if judge else []

    def judge(self, *, reference: bool = True) -> PairJudge | None:
        """Who compares answers, if anybody; reference: whether a teacher sees the reference answer too."""
        if self.teacher:
            return TeacherJudge(self.teacher, reference=reference)
        return ExactJudge(self.truth) if self.truth else None


def open_jury(
    judge: JudgedBy, environ: Mapping[str, str], cache: Path, prepared: Path, replies: Path
) -> tuple[Jury, Teacher]:
    """The jury of the section `judge`, and whose usage counts; a ground truth is as free as a free teacher.

    environ, cache: of the teacher's Setting. prepared: the folder of the truth and of the training examples.
    replies: those that DVC keeps. Raises ValueError where params name what cannot serve.
    """
    check_watched(local_paths(judge))
    truth, source = Truth.find(prepared / "truth.json"), knowledge_source(judge, prepared / "train.jsonl")
    if judge.teacher:
        teacher = open_teacher(judge.teacher, Setting(environ, cache, section="judge"), replies)
        return Jury(None, teacher, "computed", source), teacher
    if judge.backend == "none":
        return Jury(None, None, "not computed: judge.backend is none"), Teacher()
    if truth is None:
        why = "the data carry no ground truth; judge.backend openai asks an LLM"
        return Jury(None, None, f"not computed: {why}"), Teacher()
    return Jury(truth, None, "computed"), Teacher()


def count(verdicts: Sequence[Verified], judgements: Sequence[Judgement]) -> dict[str, int]:
    """How many answers and comparisons there are, and how many of them lack a complete verdict."""
    return {
        "answers": len(verdicts),
        "answers_unscored": sum(bool(row.unscored) for row in verdicts),
        "comparisons": len(judgements),
        "comparisons_unjudged": sum(row.outcome == "unjudged" for row in judgements),
    }


def position_warning(judgements: Sequence[Judgement]) -> str | None:
    """The line about a judge that prefers one position, whatever stands there; None where it does not.

    Of all verdicts that prefer an answer, a judge that looks at the answers gives either position half.
    """
    shown = [row.forward == "a" for row in judgements if row.forward in ("a", "b")]
    shown += [row.backward == "b" for row in judgements if row.backward in ("a", "b")]
    if len(shown) < _ENOUGH:
        return None
    first = sum(shown) / len(shown)
    if max(first, 1 - first) < _ONE_SIDED:
        return None
    both = [row for row in judgements if row.forward and row.backward]
    agree = sum(row.forward == row.backward for row in both) / max(1, len(both))
    position = "first" if first > 0.5 else "second"
    return (
        f"the judge prefers the answer shown {position} in {100 * max(first, 1 - first):.0f} % of "
        f"{len(shown)} verdicts and its two orders agree on {100 * agree:.0f} % of pairs: what it says "
        "is about the position, not the answers; take another judge.model"
    )


def check_unjudged(
    verdicts: Sequence[Verified], judgements: Sequence[Judgement], limit: float, *, folder: Path
) -> None:
    """Raise ValueError when more than the share `limit` of answers or comparisons has no verdict.

    folder: where verdicts.jsonl and judgements.jsonl hold the reasons.
    """
    counts = count(verdicts, judgements)
    answers = (counts["answers_unscored"], counts["answers"], "answers", "verdicts.jsonl")
    pairs = (counts["comparisons_unjudged"], counts["comparisons"], "comparisons", "judgements.jsonl")
    for missing, total, what, name in (answers, pairs):
        if missing > limit * total:
            raise ValueError(
                f"{missing} of {total} {what} have no complete verdict, judge.max_unjudged allows {limit:g} "
                f"of them; see the reasons in {folder / name}, run again to ask for these alone, or raise it"
            )
