"""Parameters of answering."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, StringConstraints

from knowtuning.core.params import Section, Seed, Selection, Template
from knowtuning.systems import ON_SAMPLES

# A further test set is one of prepare.tests, by its name.
Split = Annotated[str, StringConstraints(pattern=r"^(train|valid|test|tests/[\w.-]+)$")]


def _distinct(names: list[str]) -> list[str]:
    if not set(names) <= ON_SAMPLES.keys() or len(set(names)) < len(names):
        raise ValueError(f"some of {', '.join(ON_SAMPLES)}, each once")
    return names


Baselines = Annotated[
    list[str],
    AfterValidator(_distinct),
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


class PredictParams(Section):
    """How every system answers."""

    split: Split = Field(
        description="questions to answer: train, valid, test, or tests/<name of prepare.tests>; choose "
        "settings on valid and look at test once",
    )
    max_new_tokens: int = Field(
        ge=1, description="tokens an answer may have; one that reaches the limit is marked truncated"
    )
    temperature: float = Field(
        ge=0,
        description="0: the most probable token, greedily; else tokens are drawn (released scripts: 0.95)",
    )
    top_p: float = Field(gt=0, le=1, description="share of probability drawn from (released scripts: 0.7)")
    top_k: int | None = Field(ge=1, description="tokens drawn from at most (released scripts: 50); null: all")
    limit: int | None = Field(
        ge=1, description="answer only the first questions of the split, in file order; null: all"
    )
    backend: Literal["transformers", "vllm"] = Field(
        description="who computes the answers: transformers, or vllm, in an environment of its own "
        "(`make vllm`); the same answers, but where two tokens are all but equally probable",
    )


class PredictedSplit(Selection):
    """What the evaluation must know about the predictions: which questions they answer."""

    split: Split
    limit: int | None = Field(ge=1)


class PromptTemplate(Selection):
    """What a prompt needs of the section `model`."""

    template: Template
    template_args: dict[str, Any]


class PredictStage(Selection):
    """The keys of params.yaml that the predict stage reads."""

    seed: Seed
    model: PromptTemplate
    predict: PredictParams
