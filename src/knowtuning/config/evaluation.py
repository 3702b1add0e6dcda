"""Parameters of the predict and evaluate stages."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from knowtuning.core.params import Section, Seed, Selection, Template

Split = Literal["train", "valid", "test"]


class PredictParams(Section):
    """How every system answers."""

    split: Split = Field(
        description="questions to answer; choose settings on valid and look at test once",
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


class BertScoreParams(Section):
    """BERTScore, for which an encoder must be at hand."""

    encoder: str | None = Field(
        min_length=1,
        description="encoder of the hub (paper: roberta-large) or a folder; null: BERTScore is not computed",
    )
    revision: str | None = Field(description="commit of an encoder of the hub; null only for a folder")
    layers: int | None = Field(ge=1, description="layer whose embeddings count; null: the encoder's own")
    rescale: bool = Field(description="rescale by the encoder's baseline, so that unrelated texts score 0")


class EvaluateParams(Section):
    """How sure the numbers are, and how the shortcut audit is cross-validated."""

    resamples: int = Field(
        ge=1000, description="bootstrap resamples of the questions; 10,000 or more to quote"
    )
    confidence: float = Field(gt=0.5, lt=1, description="level of every interval, a fraction (0.95: 95 %)")
    audit_folds: int = Field(
        ge=2, description="cross-validation folds of the shortcut audit, grouped by source question"
    )
    bertscore: BertScoreParams


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
