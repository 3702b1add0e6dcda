"""A teacher for tests: fixed rules or those of a test, a log of the tasks it got, failures on demand."""

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
    """Replies as `reply` says, and fails at the tasks of which `fails` says so; reads all tasks ahead."""

    def __init__(
        self, reply: Callable[[Task], Outcome] | None = None, *, fails: Callable[[Task], bool] | None = None
    ) -> None:
        self.reply, self.fails = reply or reply_to, fails or (lambda task: False)
        self.tasks: list[Task] = []

    def run(self, tasks: Iterable[Task]) -> Iterator[tuple[Task, Outcome]]:
        # A concurrent backend has read every task before its first reply arrives.
        ahead = list(tasks)
        self.tasks += ahead
        for task in ahead:
            failed = self.fails(task)
            yield task, Failure(reason="found no reply 7", raw="?") if failed else self.reply(task)


def reply_to(task: Task) -> Reply:
    """Extracts by sentence, revises by "not", rephrases by upper case."""
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
