"""Parameters of verifying facts and judging pairs of answers: the section `judge`."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator

from knowtuning.config.predict import ComparedSystems
from knowtuning.config.teacher import Endpoint, TeacherParams
from knowtuning.core.params import Section, Share
from knowtuning.core.tables import name_in
from knowtuning.systems import EVERY, FIRST_VERSION
from knowtuning.teacher.teachers import TEACHERS

_BACKENDS = ("exact", *(name for name, teacher in TEACHERS.items() if teacher.judges), "none")
# What `judge.knowledge.path` calls the training examples.
TRAIN = "train"


class KnowledgeParams(Section):
    """What an LLM holds facts against beside the reference answer."""

    path: str | None = Field(
        description="JSONL file of title and text, under data/raw/; train: the training questions with their "
        "answers; null: the reference answer alone"
    )
    passages: int = Field(ge=1, description="passages retrieved for a fact (FActScore: 5)")


class JudgedBy(Endpoint, extra="ignore"):
    """Who judges: what the baselines' pairs depend on of the section `judge`."""

    backend: Annotated[str, name_in(dict.fromkeys(_BACKENDS))] = Field(
        description="exact: the closed world's verifier, not computed on data without ground truth; "
        "openai, or another teacher that can judge; none: neither facts nor pairs"
    )
    knowledge: KnowledgeParams

    @property
    def teacher(self) -> TeacherParams | None:
        """The teacher that judges, where one does."""
        if self.backend not in TEACHERS:
            return None
        return TeacherParams(**{name: getattr(self, name) for name in TeacherParams.model_fields})


class JudgeParams(JudgedBy, extra="forbid"):
    """Who checks the facts of answers and compares answers in pairs."""

    pairs: list[Annotated[list[str], Field(min_length=2, max_length=2)]] = Field(
        min_length=1, description="pairs of systems to compare; a win is one of the first of the pair"
    )
    max_unjudged: Share = Field(
        description="largest share of comparisons, and of answers, that may stay without a verdict before "
        "the stage fails (0..1)"
    )

    @field_validator("pairs")
    @classmethod
    def _check_pairs(cls, value: list[list[str]]) -> list[list[str]]:
        seen: set[frozenset[str]] = set()
        for pair in value:
            if not set(pair) <= EVERY.keys():
                raise ValueError(f"pairs of {', '.join(EVERY)}: look at [{', '.join(pair)}]")
            if len(set(pair)) < 2 or set(pair) in seen:
                raise ValueError(f"pairs of two systems, each pair once: look at [{', '.join(pair)}]")
            seen.add(frozenset(pair))
        return value


def check_knowledge(judge: JudgedBy) -> None:
    """Raise ValueError where a knowledge source is named that nobody would read."""
    if judge.knowledge.path is not None and judge.teacher is None:
        raise ValueError(
            f"params.yaml: judge.knowledge.path is {judge.knowledge.path!r} and judge.backend is "
            f"{judge.backend}; expected null there, or openai, which reads passages"
        )


def local_paths(judge: JudgedBy) -> dict[str, str | None]:
    """The knowledge source where it is a file, by params key."""
    path = judge.knowledge.path
    return {"judge.knowledge.path": None if path == TRAIN else path}


class VerifyStage(ComparedSystems):
    judge: JudgeParams

    @property
    def matchups(self) -> list[tuple[str, str]]:
        """The pairs of systems to compare. Raises ValueError for a baseline that the run does not have."""
        named = {name for pair in self.judge.pairs for name in pair}
        missing = min(named - self.systems.keys(), default=None)
        if missing:
            wanted = "first_version to be [kg]" if missing in FIRST_VERSION else "it in baselines too"
            raise ValueError(f"params.yaml: judge.pairs has {missing}; expected {wanted}")
        return [(first, second) for first, second in self.judge.pairs]
