"""Parameters of model input (`model`), shared by scoring, training and prediction."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from knowtuning.config import Section

Template = Literal["bare", "plain", "alpaca", "chat"]


class ModelParams(Section):
    """How a question becomes model input."""

    template: Template = Field(
        description="prompt template: bare (the question alone), plain (Question: ... Answer:), "
        "alpaca (the released scripts) or chat (the tokenizer's own)"
    )
    max_length: int = Field(
        ge=8, description="longest prompt and completion together (tokens); 1024 in the released scripts"
    )
