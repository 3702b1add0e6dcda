"""The `english` teacher: deterministic, without network or key, for English text (docs/data-quality.md).

It does what rules do well and leaves the rest out, with the reason: facts that stand alone, revisions by what
the corpus says elsewhere, questions from templates, triples of plain sentences; nothing is rephrased.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial

from knowtuning.teacher import tasks as ask
from knowtuning.teacher.english.asking import opening_of, question_for, triples_of
from knowtuning.teacher.english.revise import Reviser
from knowtuning.teacher.english.statements import extract
from knowtuning.teacher.english.words import check_english


class EnglishTeacher(ask.Teacher):
    """Answers the tasks of a knowledge stage by rules.

    corpus: facts that lend their numbers to revisions, as the tasks of a run do with what they say of their
    topics. Choices are hashes of seed and task, so that one more record changes few replies."""

    def __init__(self, *, seed: int, corpus: Sequence[str] = ()) -> None:
        self._seed = seed
        self._corpus = corpus

    def run(self, tasks: Iterable[ask.Task]) -> Iterator[tuple[ask.Task, ask.Outcome]]:
        """Yield each task with its reply, or with the reason why it is left out."""
        every = list(tasks)
        records = [(t.id, t.question, t.facts) for t in every if isinstance(t, ask.Revise)]
        reviser = Reviser(self._seed, records, self._corpus) if records else None
        for task in every:
            yield task, ask.checked(task, partial(self._reply, task, reviser), expected=True)

    def _reply(self, task: ask.Task, reviser: Reviser | None) -> ask.Reply:
        if isinstance(task, ask.Revise | ask.RewriteQA | ask.Triples):
            check_english(" ".join(task.facts))
        match task:
            case ask.Extract():
                return ask.FactList(facts=extract(task.question, task.answer))
            case ask.Revise() if reviser is not None:
                return ask.FactList(facts=reviser.revise(task.id, task.question, task.facts))
            case ask.RewriteQA():
                question = question_for(task.question, task.facts, self._seed, task.id)
                return ask.QuestionAnswer(question=question, answer=" ".join(task.facts))
            case ask.AskFact():
                check_english(task.fact)
                question = question_for(task.question, [task.fact], self._seed, task.id)
                return ask.FactQuestion(question=question, opening=opening_of(task.fact))
            case ask.Triples():
                return ask.TripleList(triples=triples_of(task.facts))
            case ask.Tell():
                return ask.Text(text=" ".join(f"{t.subject} {t.predicate} {t.object}." for t in task.triples))
            case ask.Rephrase():
                return ask.Text(text=task.text)
        raise ValueError(f"the english teacher has no rules for the task {task.name!r}")
