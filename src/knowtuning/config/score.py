"""Parameters of the perplexity of facts."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from knowtuning.core.params import ModelParams, Section, Selection, Share


class ScoreParams(Section):
    """Perplexity of the facts under the base model."""

    dtype: Literal["auto", "float32", "bfloat16"] = Field(
        description="number format of the model; auto is bfloat16 on a GPU that has it, else float32"
    )
    max_rejected: Share = Field(description="share of rejected rows above which the stage fails")


class ScoreStage(Selection):
    model: ModelParams
    score: ScoreParams
