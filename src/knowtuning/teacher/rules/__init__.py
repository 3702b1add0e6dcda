"""The `rules` teacher: deterministic, without network, for any English text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from knowtuning.core.text import normal_form
from knowtuning.teacher.rules.clauses import facts_of
from knowtuning.teacher.rules.corpus import Corpus
from knowtuning.teacher.rules.questions import question_for
from knowtuning.teacher.rules.rephrase import rephrase
from knowtuning.teacher.rules.revise import Reviser
from knowtuning.teacher.rules.sentences import split_sentences
from knowtuning.teacher.tasks import (
    Extract,
    FactList,
    Failure,
    FreeTeacher,
    Outcome,
    QuestionAnswer,
    Rephrase,
    Reply,
    Revise,
    RewriteQA,
    Task,
    Text,
)


class RulesTeacher(FreeTeacher):
    """Answers every task by rules.

    corpus: all atomic facts of the training set, the source of plausible replacements; without it
    revision falls back to numbers, opposites and negation. A reply depends on the seed, the task and
    the corpus alone; a choice is made by rendezvous hashing, so one more fact changes few replies.
    """

    def __init__(self, *, seed: int, corpus: Sequence[str] = ()) -> None:
        self._seed = seed
        self._corpus = Corpus(corpus)
        self._reviser = Reviser(seed, self._corpus)

    def run(self, tasks: Iterable[Task]) -> Iterator[tuple[Task, Outcome]]:
        """Yield each task with its reply, or with the reason why there is no acceptable one."""
        for task in tasks:
            yield task, self._outcome(task)

    def _outcome(self, task: Task) -> Outcome:
        reply: Reply | None = None
        try:
            reply = self._reply(task)
            task.check(reply)
        except ValueError as error:
            return Failure(reason=str(error), raw=None if reply is None else reply.model_dump())
        return reply

    def _reply(self, task: Task) -> Reply:
        match task:
            case Extract():
                return FactList(facts=extract(task.answer))
            case Revise():
                found = self._reviser.revise(task.id, task.question, task.facts)
                return FactList(facts=[revision.text for revision in found])
            case RewriteQA():
                question, _ = question_for(task.question, task.facts, self._corpus.vocabulary)
                return QuestionAnswer(question=question, answer=" ".join(task.facts))
            case Rephrase():
                return Text(text=rephrase(self._seed, task.id, task.text))
        raise ValueError(f"the rules teacher has no rules for the task {task.name!r}")


def extract(answer: str) -> list[str]:
    """Distinct atomic facts of an answer, in its order and, but for resolved pronouns, in its words."""
    if not answer.strip():
        raise ValueError("found an empty answer; expected a text with at least one fact")
    distinct = {normal_form(fact): fact for fact in reversed(facts_of(split_sentences(answer)))}
    return list(reversed(distinct.values()))
