"""Parameters of the preference pairs."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from knowtuning.config.teacher import MaxRejected, TeacherStage
from knowtuning.core.params import Section, Share
from knowtuning.core.tables import names_in
from knowtuning.knowledge.aspects import ASPECTS


class PerturbParams(Section):
    """Coarse-grained knowledge comparison (paper, 3.3)."""

    aspects: Annotated[list[str], names_in(ASPECTS)] = Field(
        min_length=1,
        description="in what the rejected side is worse, a pair each: completeness (facts are missing), "
        "factuality (false), logicality (shuffled); knowledge/aspects.py has them",
    )
    style: Literal["matched", "original", "paper"] = Field(
        description="matched: both sides are rephrased facts; original: the answer as it stands against "
        "itself with its facts changed in place, nothing is rephrased; paper: rephrased answer against bare "
        "facts"
    )
    beta_delete: Share = Field(description="share of the facts that completeness deletes, at least one")
    fill: Literal["none", "repeat", "foreign"] = Field(
        description="what stands for the facts that completeness deletes, about as many words: repeat: kept "
        "facts again (with style matched an LLM may say them once); foreign: facts of other records, beside "
        "the question; none: nothing, as in the paper"
    )
    revise: Literal["teacher", "borrowed"] = Field(
        description="who makes facts false: the teacher (paper); borrowed: the fact of another record that "
        "shares most words with it, where it is beside the question, stands in its place"
    )
    revise_share: float = Field(
        gt=0,
        le=1,
        description="share of an answer's facts that factuality makes false, at least one (0..1]; "
        "1 in the paper",
    )
    offset: float = Field(
        ge=0,
        description="by how much the reward of the chosen side is to lead (beta times nats), for each fact "
        "that the rejected one lacks or has false; 0 in the paper",
    )
    max_growth: float = Field(
        ge=1, description="most words of a chosen text, as a multiple of the answer it stands for (1 or more)"
    )
    audit_folds: int = Field(ge=2, description="cross-validation folds of the shortcut audit, by question")
    max_given_away: float = Field(
        ge=0.5,
        le=1,
        description="largest share of an aspect's pairs that form alone may tell without a warning (0.5 is "
        "chance)",
    )
    max_rejected: MaxRejected


class PerturbStage(TeacherStage):
    perturb: PerturbParams
