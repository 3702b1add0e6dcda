"""Parameters of sampling answers to the training questions, for the paper's baselines."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from knowtuning.core.params import PromptParams, Section, Seed, Selection
from knowtuning.core.tables import names_in
from knowtuning.systems import EVERY


class SampleParams(Section):
    """How answers to the training questions are sampled for the baselines."""

    systems: Annotated[list[str], names_in(EVERY)] = Field(
        description="systems whose answers are sampled; [sft] where there are baselines, which continue it"
    )
    samples: int = Field(
        ge=2,
        le=100,
        description="answers to each question (FactTune: 10); RLAIF takes the first two that differ",
    )
    temperature: float = Field(
        gt=0, description="tokens are drawn at this temperature (FactTune, RLAIF: 1.0)"
    )
    top_p: float = Field(gt=0, le=1, description="share of probability drawn from")
    top_k: int | None = Field(ge=1, description="tokens drawn from at most; null: all")
    max_new_tokens: int = Field(
        ge=1, description="tokens a sample may have; one that reaches the limit makes no pair"
    )
    limit: int | None = Field(
        ge=1, description="sample answers to the first questions alone, in file order; null: all"
    )
    backend: Literal["transformers", "vllm"] = Field(description="who samples, as in predict.backend")


class SampleStage(Selection):
    """The keys of params.yaml that the sample stage reads."""

    seed: Seed
    model: PromptParams
    sample: SampleParams
