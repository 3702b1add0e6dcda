"""Parameters of judging answers (`judge`), and all that the evaluate stage reads.

Apart from evaluation.py, so that a change here predicts nothing anew.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from knowtuning.config.evaluation import EvaluateParams, PredictedSplit
from knowtuning.config.teacher import Endpoint, TeacherParams
from knowtuning.core.params import Seed, Selection
from knowtuning.core.records import System


class JudgeParams(Endpoint):
    """Who checks the facts of answers and compares answers in pairs."""

    backend: Literal["exact", "openai", "none"] = Field(
        description="exact: the closed world's verifier, not computed on data without ground truth; "
        "openai: an LLM at any OpenAI-compatible endpoint; none: neither facts nor pairs"
    )
    pairs: list[Annotated[list[System], Field(min_length=2, max_length=2)]] = Field(
        min_length=1, description="pairs of systems to compare; a win is one of the first of the pair"
    )
    max_unjudged: float = Field(
        ge=0,
        le=1,
        description="largest share of comparisons, and of answers, that may stay without a verdict before "
        "the stage fails (0..1)",
    )

    @field_validator("backend", mode="before")
    @classmethod
    def _not_rules(cls, value: Any) -> Any:
        if value == "rules":
            raise ValueError("exact, openai or none: rules can neither verify nor judge an answer")
        return value

    @field_validator("pairs")
    @classmethod
    def _distinct(cls, value: list[list[System]]) -> list[list[System]]:
        seen: set[frozenset[System]] = set()
        for pair in value:
            if len(set(pair)) < 2 or set(pair) in seen:
                raise ValueError(f"pairs of two systems, each pair once: look at [{', '.join(pair)}]")
            seen.add(frozenset(pair))
        return value

    @property
    def matchups(self) -> list[tuple[System, System]]:
        """The pairs as tuples."""
        return [(first, second) for first, second in self.pairs]

    @property
    def teacher(self) -> TeacherParams:
        """The LLM that judges, as the parameters of a teacher."""
        return TeacherParams(
            backend="openai", **{name: getattr(self, name) for name in Endpoint.model_fields}
        )


class EvaluateStage(Selection):
    """The keys of params.yaml that the evaluate stage reads."""

    seed: Seed
    predict: PredictedSplit
    evaluate: EvaluateParams
    judge: JudgeParams
