"""Facts of answers verified by a teacher, where no ground truth can do it.

The teacher extracts the facts of every answer, compares them with the reference answer, and looks for the
reference answer's own facts in the answer. Whatever step fails, the answer stays in the counts: its facts
are `unscored` and its row has the reason.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from knowtuning.core.records import Example, Prediction, Sentence, Verdict, Verified
from knowtuning.core.text import normal_form
from knowtuning.teacher.judging import (
    Claims,
    FactVerdict,
    FactVerdicts,
    Recall,
    Stated,
    Verify,
    VerifyByPassages,
)
from knowtuning.teacher.tasks import FactList, Failure, Outcome, Task, Teacher
from knowtuning.verification.asking import ask_once
from knowtuning.verification.exact import f1_at_k, percent, rounded
from knowtuning.verification.passages import KnowledgeSource

_VERDICTS: dict[FactVerdict, Verdict] = {
    "supported": "correct",
    "contradicted": "incorrect",
    "not_supported": "unverifiable",
}


@dataclass(frozen=True)
class _Asked:
    """An answer on its way through the steps."""

    example: Example
    system: str
    answer: str

    @property
    def id(self) -> str:
        return f"{self.example.id}/{self.system}"


def check_answers(
    examples: Sequence[Example],
    predictions: Mapping[str, Sequence[Prediction]],
    teacher: Teacher,
    *,
    recall: bool = True,
    source: KnowledgeSource | None = None,
) -> list[Verified]:
    """Have the teacher verify every system's answers, by system, then in the order of `examples`.

    Three streams of calls: extraction (references and answers), verification, recall. An empty answer is
    asked about in none of them: it states nothing. recall: whether to look for the reference answer's facts,
    a score that is else left out with its calls. source: passages that facts are held against too.
    """
    asked = [
        _Asked(example, system, one.answer)
        for system, given in predictions.items()
        for example, one in zip(examples, given, strict=True)
    ]
    # Nothing can be said about facts where no reference answer is: such questions cost no call.
    every = [one for one in asked if one.example.answer.strip()]
    examples = [example for example in examples if example.answer.strip()]
    compared = examples if recall else []
    references = [Claims(id=_reference(e), question=e.question, answer=e.answer) for e in compared]
    claims = [
        Claims(id=a.id, question=a.example.question, answer=a.answer) for a in every if a.answer.strip()
    ]
    stated = _ask(teacher, [*references, *claims])
    verified = _ask(teacher, [task for a in every for task in _verify(a, stated, source)])
    recalled = _ask(teacher, [task for a in every for task in _recall(a, stated)]) if recall else None
    found = iter([_verified(a, stated, verified, recalled, source) for a in every])
    return [next(found) if one.example.answer.strip() else _open(one) for one in asked]


def _open(asked: _Asked) -> Verified:
    """The verdict on an answer that nothing can be compared with: every score is undefined."""
    scores = dict.fromkeys([*_scores(None, None), "recall"])
    return Verified(id=asked.id, question=asked.example.id, system=asked.system, scores=scores)


def _reference(example: Example) -> str:
    """The id of the reference answer's facts, beside "<question>/<system>"."""
    return f"{example.id}/reference"


def _ask(teacher: Teacher, tasks: Sequence[Task]) -> dict[str, Outcome]:
    """The outcome of each task by its id."""
    ids = (task.id for task in tasks)
    return dict(zip(ids, ask_once(teacher, tasks), strict=True))


def _wanted(asked: _Asked, stated: Mapping[str, Outcome]) -> list[str] | Failure:
    """The facts of the reference answer, or why there are none."""
    found = stated[_reference(asked.example)]
    if isinstance(found, Failure):
        return found
    assert isinstance(found, FactList)
    return _distinct(found.facts) or Failure(reason="found no fact")


def _distinct(facts: Sequence[str]) -> list[str]:
    """The facts without those said before, in their order."""
    first: dict[str, str] = {}
    for fact in facts:
        first.setdefault(normal_form(fact), fact)
    return list(first.values())


def _verify(asked: _Asked, stated: Mapping[str, Outcome], source: KnowledgeSource | None) -> list[Verify]:
    """The task of verifying what an answer states, each fact once; none where it states nothing."""
    said = stated.get(asked.id)
    if not isinstance(said, FactList) or not said.facts:
        return []
    facts = tuple(_distinct(said.facts))
    example = asked.example
    task = Verify(id=asked.id, question=example.question, reference=example.answer, facts=facts)
    if source is None:
        return [task]
    return [VerifyByPassages(**dict(task), passages=source.passages(example.question, facts))]


def _recall(asked: _Asked, stated: Mapping[str, Outcome]) -> list[Recall]:
    """The task of finding the reference's facts in an answer; none where one of the two is missing."""
    wanted = _wanted(asked, stated)
    if isinstance(wanted, Failure) or not asked.answer.strip():
        return []
    question = asked.example.question
    return [Recall(id=asked.id, question=question, answer=asked.answer, facts=tuple(wanted))]


def _verified(
    asked: _Asked,
    stated: Mapping[str, Outcome],
    verified: Mapping[str, Outcome],
    recalled: Mapping[str, Outcome] | None,
    source: KnowledgeSource | None,
) -> Verified:
    """What the teacher's replies say about one answer."""
    said = stated.get(asked.id, FactList(facts=[]))
    verdicts = verified.get(asked.id, FactVerdicts(verdicts=[]))
    steps: dict[str, object] = {"extract": said, "verify": verdicts}
    recall: dict[str, float | None] = {}
    asked_for: int | None = None
    if recalled is not None:
        found = recalled.get(asked.id)
        wanted = _wanted(asked, stated)
        asked_for = None if isinstance(wanted, Failure) else len(wanted)
        recall["recall"] = None
        if isinstance(found, Stated):
            recall["recall"] = percent(sum(found.stated), len(found.stated))
        elif found is None and not isinstance(wanted, Failure):
            recall["recall"] = 0.0
        steps |= {"extract the reference": wanted, "recall": found}
    reasons = [f"{step}: {reply.reason}" for step, reply in steps.items() if isinstance(reply, Failure)]
    sentences: list[Sentence] = []
    if isinstance(said, FactList):
        sentences = _sentences(said.facts, verdicts)
    if source is not None:
        question = asked.example.question
        sentences = [
            each.model_copy(update={"evidence": source.evidence(question, each.text)}) for each in sentences
        ]
    scored = None if isinstance(said, Failure) or isinstance(verdicts, Failure) else sentences
    return Verified(
        id=asked.id,
        question=asked.example.id,
        system=asked.system,
        scores=rounded(_scores(scored, asked_for) | recall),
        sentences=sentences,
        unscored=reasons,
    )


def _sentences(facts: Sequence[str], verdicts: Outcome) -> list[Sentence]:
    """The facts with their verdicts; those of distinct facts serve their repetitions."""
    if not isinstance(verdicts, FactVerdicts):
        return [Sentence(text=fact, verdict="unscored") for fact in facts]
    forms = [normal_form(fact) for fact in _distinct(facts)]
    found = dict(zip(forms, verdicts.verdicts, strict=True))
    sentences: list[Sentence] = []
    seen: set[str] = set()
    for fact in facts:
        form = normal_form(fact)
        verdict = _VERDICTS[found[form]]
        repeated = verdict == "correct" and form in seen
        sentences.append(Sentence(text=fact, verdict="duplicate" if repeated else verdict))
        seen.add(form)
    return sentences


def _scores(sentences: Sequence[Sentence] | None, k: int | None) -> dict[str, float | None]:
    """The scores of an answer, named as those of the exact verifier; None: it has no verdicts.

    correct: distinct supported facts. incorrect, unverifiable: every contradicted, and every unsupported
    statement. duplicate: supported facts said again. percent_correct: correct of correct and incorrect.
    f1_at_k: K is the number of facts of the reference answer; None where `k` is.
    unscored: 100 where verdicts are missing, else 0, so that its mean is the share of such answers.
    """
    names: tuple[Verdict, ...] = ("correct", "incorrect", "unverifiable", "duplicate")
    if sentences is None:
        return {**dict.fromkeys([*names, "percent_correct", "f1_at_k"]), "unscored": 100.0}
    counts = {name: sum(s.verdict == name for s in sentences) for name in names}
    share = percent(counts["correct"], counts["correct"] + counts["incorrect"])
    f1 = f1_at_k(counts["correct"], counts["incorrect"] + counts["unverifiable"], k) if k else None
    return {
        **{name: float(n) for name, n in counts.items()},
        "percent_correct": share,
        "f1_at_k": f1,
        "unscored": 0.0,
    }
