"""Parameters of answering and of sampling answers, and which systems a run compares."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from knowtuning.core.params import PromptParams, Section, Seed, Selection
from knowtuning.core.tables import names_in
from knowtuning.systems import EVERY, ON_SAMPLES, System, compared

# A further test set is one of prepare.tests, by its name.
Split = Annotated[
    str,
    StringConstraints(pattern=r"^(train|valid|test|tests/[\w.-]+)$"),
    Field(
        description="questions to answer: train, valid, test, or tests/<name of prepare.tests>; choose "
        "settings on valid and look at test once"
    ),
]
Limit = Annotated[
    int | None,
    Field(ge=1, description="answer only the first questions of the split, in file order; null: all"),
]
Baselines = Annotated[
    list[str],
    names_in(ON_SAMPLES),
    Field(
        description="further systems that the run trains and compares: baselines of the paper, and KC on "
        "sampled answers (kc_sampled); see docs/method.md"
    ),
]
FirstVersion = Annotated[
    list[Literal["kg"]],
    Field(
        max_length=1,
        description="[kg]: the run trains and compares the method's first version too, its two steps as the "
        "systems kg and kgkc; see docs/method.md",
    ),
]


class PredictedSplit(Section, extra="ignore"):
    """Which questions are answered: what the evaluation reads of the section `predict`."""

    split: Split
    limit: Limit


class PredictParams(Section):
    """How every system answers."""

    split: Split
    max_new_tokens: int = Field(
        ge=1, description="tokens an answer may have; one that reaches the limit is marked truncated"
    )
    temperature: float = Field(
        ge=0,
        description="0: the most probable token, greedily; else tokens are drawn (released scripts: 0.95)",
    )
    top_p: float = Field(gt=0, le=1, description="share of probability drawn from (released scripts: 0.7)")
    top_k: int | None = Field(ge=1, description="tokens drawn from at most (released scripts: 50); null: all")
    limit: Limit
    backend: Literal["transformers", "vllm"] = Field(
        description="who computes the answers: transformers, or vllm, in an environment of its own "
        "(`make vllm`); the same answers, but where two tokens are all but equally probable",
    )


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
    temperature: float = Field(gt=0, description="temperature of the draws (FactTune, RLAIF: 1.0)")
    top_p: float = Field(gt=0, le=1, description="share of probability drawn from")
    top_k: int | None = Field(ge=1, description="tokens drawn from at most; null: all")
    max_new_tokens: int = Field(ge=1, description="tokens of a sample; one that is cut off makes no pair")
    limit: int | None = Field(ge=1, description="sample the first questions alone, in file order; null: all")
    backend: Literal["transformers", "vllm"] = Field(description="who samples, as in predict.backend")


class PredictStage(Selection):
    seed: Seed
    model: PromptParams
    predict: PredictParams


class SampleStage(Selection):
    seed: Seed
    model: PromptParams
    sample: SampleParams


class ComparedSystems(Selection):
    """Which systems a run compares on which questions: what all stages behind `predict` read."""

    baselines: Baselines
    first_version: FirstVersion
    predict: PredictedSplit

    @property
    def systems(self) -> dict[str, System]:
        """The systems that answer, by name."""
        return compared(self.baselines, self.first_version)
