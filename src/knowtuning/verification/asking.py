"""Asking a teacher each thing once, however many answers it concerns."""

from __future__ import annotations

from collections.abc import Sequence

from knowtuning.teacher.tasks import Outcome, Task, Teacher


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
