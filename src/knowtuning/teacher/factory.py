"""The one place where parameters become a teacher."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from knowtuning.config.teacher import TeacherParams
from knowtuning.core.storage import atomic_write
from knowtuning.teacher.tasks import Teacher

if TYPE_CHECKING:
    from knowtuning.teacher.openai.limits import Limits


def build_teacher(
    params: TeacherParams,
    *,
    seed: int,
    corpus: Sequence[str],
    prompts: Path,
    cache: Path,
    api_key: str | None,
    hardware: Limits,
    section: str = "teacher",
) -> Teacher:
    """The teacher that `params` names.

    seed, corpus: for the rules backend, whose replacements come from the corpus.
    prompts: folder of prompt files; cache: folder of the reply store; api_key, hardware: key, speed and
    money, for the openai backend. section: where params.yaml has `params`, for messages.
    """
    if params.backend == "rules":
        from knowtuning.teacher.rules import RulesTeacher

        return RulesTeacher(seed=seed, corpus=corpus)
    from knowtuning.teacher.openai.teacher import OpenAITeacher

    return OpenAITeacher(
        params, prompts=prompts, cache=cache, api_key=api_key, limits=hardware, section=section
    )


def load_responses(teacher: Teacher, out: Path, *, root: Path) -> int:
    """Replay: take the replies that DVC keeps of the output `out` into the teacher's store.

    root: the folder of dvc.lock. Returns how many were new; 0 for a teacher that pays nothing.
    """
    from knowtuning.teacher.openai.responses import previous_output
    from knowtuning.teacher.openai.teacher import OpenAITeacher

    if not isinstance(teacher, OpenAITeacher):
        return 0
    kept = previous_output(root, out)
    return 0 if kept is None else teacher.load_responses(kept)


def save_responses(teacher: Teacher | None, out: Path) -> int:
    """Write the replies that the teacher used to `out`; an empty file where nobody was paid."""
    from knowtuning.teacher.openai.teacher import OpenAITeacher

    if isinstance(teacher, OpenAITeacher):
        return teacher.save_responses(out)
    with atomic_write(out):
        return 0


def usage_metrics(teacher: Teacher | None) -> dict[str, Any]:
    """Totals of calls, tokens and money for a metrics file; empty where nobody was paid.

    `paid` is this run's part and `cached` what earlier runs paid for; `total` is both, and the same
    whether the stage was resumed or not.
    """
    from knowtuning.teacher.openai.teacher import OpenAITeacher

    return {"teacher": teacher.usage.metrics()} if isinstance(teacher, OpenAITeacher) else {}
