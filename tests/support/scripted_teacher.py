"""A teacher for tests: simple fixed rules, a log of the tasks it got, and failures on demand."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from knowtuning.teacher.tasks import (
    Extract,
    FactList,
    Failure,
    Outcome,
    QuestionAnswer,
    Rephrase,
    Reply,
    Revise,
    RewriteQA,
    Task,
    Teacher,
    Text,
)


class ScriptedTeacher(Teacher):
    """Extracts by sentence, revises by "not", rephrases by upper case; reads all tasks ahead.

    fails: says of which tasks the reply is a failure.
    """

    def __init__(self, fails: Callable[[Task], bool] = lambda task: False) -> None:
        self.fails = fails
        self.tasks: list[Task] = []

    def run(self, tasks: Iterable[Task]) -> Iterator[tuple[Task, Outcome]]:
        # A concurrent backend has read every task before its first reply arrives.
        ahead = list(tasks)
        self.tasks += ahead
        for task in ahead:
            failed = self.fails(task)
            yield task, Failure(reason="found no reply 7", raw="?") if failed else reply_to(task)


def reply_to(task: Task) -> Reply:
    match task:
        case Extract():
            return FactList(facts=[f"{part}." for part in task.answer.rstrip(".").split(". ")])
        case RewriteQA():
            return QuestionAnswer(question=f"More on: {task.question}", answer=" ".join(task.facts))
        case Revise():
            return FactList(facts=[f"Not so: {fact}" for fact in task.facts])
        case Rephrase():
            return Text(text=task.text.upper())
    raise AssertionError(task)
