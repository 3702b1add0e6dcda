"""The teachers that a params file can name: one entry a teacher.

Params name one by `teacher.backend`, and one that can judge by `judge.backend`. Building one imports it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from knowtuning.teacher.tasks import Dependence, Links, Teacher, independent

if TYPE_CHECKING:
    from knowtuning.config.teacher import TeacherParams


@dataclass(frozen=True)
class Setting:
    """What a stage gives its teacher.

    environ: keys, speed and money. cache: a folder that outlives the stage. seed, corpus: for teachers that
    choose at random, from all facts of the training set. section: where params.yaml has the parameters.
    most_failed: rows that may be rejected; a teacher that is paid stops when more are.
    """

    environ: Mapping[str, str]
    cache: Path
    prompts: Path = Path("prompts")
    seed: int = 0
    corpus: Sequence[str] = ()
    section: str = "teacher"
    most_failed: float = math.inf


@dataclass(frozen=True)
class Kind:
    """How a teacher is built. judges: whether it can verify facts and compare answers. depends_on: which of
    its facts lean on others. links: which of them must stand before which, if it can tell."""

    build: Callable[[TeacherParams, Setting], Teacher]
    judges: bool
    depends_on: Dependence = independent
    links: Links | None = None


def _world(params: TeacherParams, setting: Setting) -> Teacher:
    from knowtuning.teacher.world import WorldTeacher

    return WorldTeacher(seed=setting.seed, corpus=setting.corpus)


def _english(params: TeacherParams, setting: Setting) -> Teacher:
    from knowtuning.teacher.english import EnglishTeacher

    return EnglishTeacher(seed=setting.seed, corpus=setting.corpus)


def _openai(params: TeacherParams, setting: Setting) -> Teacher:
    from knowtuning.teacher.openai import OpenAITeacher

    return OpenAITeacher(params, setting)


def _links(facts: Sequence[str]) -> Sequence[tuple[int, int]] | None:
    """Signs of order are read in the english teacher's facts alone. Those of the closed world have none, for
    each has the place of its kind; what an LLM words may hang together by more than a rule sees."""
    from knowtuning.teacher.english.grammar import links_of

    return links_of(facts)


def _by_pronouns(facts: Sequence[str]) -> Sequence[int | None]:
    from knowtuning.teacher.english.grammar import depends_on

    return depends_on(facts)


# In the closed world every fact names its town.
TEACHERS: dict[str, Kind] = {
    "world": Kind(_world, judges=False),
    "english": Kind(_english, judges=False, depends_on=_by_pronouns, links=_links),
    "openai": Kind(_openai, judges=True, depends_on=_by_pronouns),
}


def open_teacher(params: TeacherParams, setting: Setting, replies: Path) -> Teacher:
    """The teacher that `params` names, with the replies that DVC keeps of the output `replies`."""
    teacher = TEACHERS[params.backend].build(params, setting)
    teacher.load_replies(replies)
    return teacher
