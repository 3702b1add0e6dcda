"""Parameters of the paper's baselines: how their preference pairs are made."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, create_model

from knowtuning.config.teacher import TeacherStage
from knowtuning.config.verify import JudgedBy
from knowtuning.core.params import PromptParams, Section, Share


class SampledPairs(Section):
    """What all baselines on sampled answers have."""

    limit: int | None = Field(ge=1, description="pairs in all, drawn at random, for equal budgets; null: all")


class RlaifParams(SampledPairs):
    """RLAIF: pairs of two samples that a judge (section `judge`) compares in overall quality."""

    reference: bool = Field(
        description="show the judge the reference answer, a stronger baseline; the closed world's judge is "
        "exact either way"
    )
    max_unjudged: Share = Field(description="share of questions that may stay without a verdict")


class FactTuneParams(SampledPairs):
    """FactTune-FS: samples ranked by the share of their facts that the section `judge` finds supported."""

    max_pairs: int = Field(
        ge=1, description="pairs of a question at most, drawn at random; 45 are all that 10 samples make"
    )
    max_unscored: Share = Field(description="share of samples that may stay without a score")


class FactTuneMcParams(FactTuneParams):
    """FactTune-MC: samples ranked by how sure the base model is of their facts; nobody judges."""

    answers: int = Field(ge=1, description="answers of the base model to each fact's question (FactTune: 20)")
    temperature: float = Field(gt=0, description="temperature of these answers (FactTune: 1.0)")
    top_p: float = Field(gt=0, le=1, description="share of probability they are drawn from (FactTune: 0.9)")
    max_new_tokens: int = Field(ge=1, description="tokens of such an answer (FactTune: 15)")


class KcSampledParams(SampledPairs):
    """KC on sampled answers: the best one by the section `judge`, against itself made worse."""

    style: Literal["matched", "original"] = Field(
        description="original: the sample as it stands against itself with its facts changed in place; "
        "matched: its facts rephrased on both sides, in the teacher's words"
    )
    beta_delete: Share = Field(description="share of a sample's facts that completeness deletes")
    revise_share: float = Field(gt=0, le=1, description="share of its facts that factuality makes false")
    max_unscored: Share = Field(description="share of samples that may stay without a verdict")
    max_rejected: Share = Field(description="share of samples and pairs that the teacher may fail at")


SECTIONS: dict[str, type[SampledPairs]] = {
    "rlaif": RlaifParams,
    "facttune_fs": FactTuneParams,
    "facttune_mc": FactTuneMcParams,
    "kc_sampled": KcSampledParams,
}


class PairsStage(TeacherStage):
    """What making the pairs reads beside the section of its baseline."""

    model: PromptParams
    judge: JudgedBy


def pairs_stage(name: str) -> type[PairsStage]:
    """What the stage that makes the pairs of a baseline reads."""
    fields: Any = {name: (SECTIONS[name], ...)}
    return create_model("Pairs", __base__=PairsStage, **fields)
