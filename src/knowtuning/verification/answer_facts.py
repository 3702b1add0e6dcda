"""Facts of answers verified by a teacher, where no ground truth can do it.

The teacher extracts the facts of every answer, compares them with the reference answer, and looks for the
reference answer's facts in the answer. Whatever step fails, the answer stays in the counts: its facts are
`unscored` and its row has the reason.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from knowtuning.core.records import Example, Prediction, Sentence, Verdict, Verified
from knowtuning.core.text import normal_form
from knowtuning.teacher import judging
from knowtuning.teacher.tasks import FactList, Failure, Outcome, Task, Teacher, distinct
from knowtuning.verification.exact import f1_at_k, percent, rounded
from knowtuning.verification.passages import KnowledgeSource

_VERDICTS: dict[judging.FactVerdict, Verdict] = {
    "supported": "correct",
    "contradicted": "incorrect",
    "not_supported": "unverifiable",
}
Outcomes = Mapping[str, Outcome]  # by the id of the task


@dataclass(frozen=True)
class _Answer:
    """A system's answer to the question of an example."""

    example: Example
    system: str
    text: str

    @property
    def id(self) -> str:
        return f"{self.example.id}/{self.system}"

    @property
    def reference(self) -> str:
        """The id of the task that splits the reference answer."""
        return f"{self.example.id}/reference"


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
    answers = [
        _Answer(example, system, prediction.answer)
        for system, predicted in predictions.items()
        for example, prediction in zip(examples, predicted, strict=True)
    ]
    # Nothing can be said about facts where no reference answer is: such questions cost no call.
    compared = [answer for answer in answers if answer.example.answer.strip()]
    texts = {answer.reference: (answer.example, answer.example.answer) for answer in compared if recall}
    texts |= {answer.id: (answer.example, answer.text) for answer in compared if answer.text.strip()}
    splits = [judging.Claims(id=name, question=e.question, answer=text) for name, (e, text) in texts.items()]
    facts = _ask(teacher, splits)
    verdicts = _ask(teacher, [task for answer in compared for task in _verify(answer, facts, source)])
    recalled = None
    if recall:
        recalled = _ask(teacher, [task for answer in compared for task in _recall(answer, facts)])
    rows = {answer.id: _verified(answer, facts, verdicts, recalled, source) for answer in compared}
    undefined = dict.fromkeys([*_scores(None, None), "recall"])
    return [
        rows.get(each.id)
        or Verified(id=each.id, question=each.example.id, system=each.system, scores=undefined)
        for each in answers
    ]


def ask_once(teacher: Teacher, tasks: Sequence[Task]) -> list[Outcome]:
    """The outcome of every task, in order; tasks that differ in their id alone are asked once.

    Systems often give the same answer. So a teacher's totals count what was needed, in whatever order
    replies come and whether they are paid or replayed.
    """
    forms = [task.model_copy(update={"id": ""}) for task in tasks]
    distinct: dict[Task, Task] = {}
    for form, task in zip(forms, tasks, strict=True):
        distinct.setdefault(form, task)
    if not distinct:
        return []
    outcomes = (outcome for _, outcome in teacher.run(list(distinct.values())))
    replies = dict(zip(distinct, outcomes, strict=True))
    return [replies[form] for form in forms]


def _ask(teacher: Teacher, tasks: Sequence[Task]) -> Outcomes:
    return dict(zip((task.id for task in tasks), ask_once(teacher, tasks), strict=True))


def _wanted(answer: _Answer, facts: Outcomes) -> list[str] | Failure:
    """The facts of the reference answer, or why there are none."""
    reply = facts[answer.reference]
    if isinstance(reply, Failure):
        return reply
    assert isinstance(reply, FactList)
    return distinct(reply.facts) or Failure(reason="found no fact")


def _verify(answer: _Answer, facts: Outcomes, source: KnowledgeSource | None) -> list[judging.Verify]:
    """The task of verifying what an answer states, each fact once; none where it states nothing."""
    reply = facts.get(answer.id)
    if not isinstance(reply, FactList) or not reply.facts:
        return []
    example, claims = answer.example, tuple(distinct(reply.facts))
    task = judging.Verify(id=answer.id, question=example.question, reference=example.answer, facts=claims)
    if source is None:
        return [task]
    return [judging.VerifyByPassages(**dict(task), passages=source.passages(example.question, claims))]


def _recall(answer: _Answer, facts: Outcomes) -> list[judging.Recall]:
    """The task of finding the reference's facts in an answer; none where one of the two is missing."""
    wanted = _wanted(answer, facts)
    if isinstance(wanted, Failure) or not answer.text.strip():
        return []
    question = answer.example.question
    return [judging.Recall(id=answer.id, question=question, answer=answer.text, facts=tuple(wanted))]


def _verified(
    answer: _Answer,
    facts: Outcomes,
    verdicts: Outcomes,
    recalled: Outcomes | None,
    source: KnowledgeSource | None,
) -> Verified:
    """What the teacher's replies say about one answer."""
    claims = facts.get(answer.id, FactList(facts=[]))
    verdict = verdicts.get(answer.id, judging.FactVerdicts(verdicts=[]))
    steps: dict[str, object] = {"extract": claims, "verify": verdict}
    recall: dict[str, float | None] = {}
    k: int | None = None
    if recalled is not None:
        wanted, reply = _wanted(answer, facts), recalled.get(answer.id)
        k = None if isinstance(wanted, Failure) else len(wanted)
        recall["recall"] = None
        if isinstance(reply, judging.Stated):
            recall["recall"] = percent(sum(fact.stated for fact in reply.facts), len(reply.facts))
        elif reply is None and k is not None:
            recall["recall"] = 0.0
        steps |= {"extract the reference": wanted, "recall": reply}
    sentences = _sentences(claims.facts, verdict) if isinstance(claims, FactList) else []
    if source is not None:
        question = answer.example.question
        sentences = [
            each.model_copy(update={"evidence": source.evidence(question, each.text)}) for each in sentences
        ]
    failed = isinstance(claims, Failure) or isinstance(verdict, Failure)
    return Verified(
        id=answer.id,
        question=answer.example.id,
        system=answer.system,
        scores=rounded(_scores(None if failed else sentences, k) | recall),
        sentences=sentences,
        unscored=[f"{step}: {reply.reason}" for step, reply in steps.items() if isinstance(reply, Failure)],
    )


def _sentences(facts: Sequence[str], reply: Outcome) -> list[Sentence]:
    """The facts with their verdicts; those of distinct facts serve their repetitions."""
    if not isinstance(reply, judging.FactVerdicts):
        return [Sentence(text=fact, verdict="unscored") for fact in facts]
    forms = map(normal_form, distinct(facts))
    verdicts = {form: _VERDICTS[fact.verdict] for form, fact in zip(forms, reply.verdicts, strict=True)}
    sentences: list[Sentence] = []
    seen: set[str] = set()
    for fact in facts:
        form = normal_form(fact)
        repeated = verdicts[form] == "correct" and form in seen
        sentences.append(Sentence(text=fact, verdict="duplicate" if repeated else verdicts[form]))
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
    correct, incorrect = counts["correct"], counts["incorrect"]
    return {
        **{name: float(n) for name, n in counts.items()},
        "percent_correct": percent(correct, correct + incorrect),
        "f1_at_k": f1_at_k(correct, incorrect + counts["unverifiable"], k) if k else None,
        "unscored": 0.0,
    }
