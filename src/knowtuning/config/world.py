"""Parameters of the closed world (`prepare.world`)."""

from __future__ import annotations

from pydantic import Field

from knowtuning.config import Section


class Towns(Section):
    """How many towns each part is about; no town is in two of them."""

    guide: int = Field(
        ge=0, description="towns the corpus asks about, so that the base model has read questions (count)"
    )

    train: int = Field(ge=8, description="towns asked about in fine-tuning data (count)")
    valid: int = Field(ge=2, description="towns asked about only in the validation split (count)")
    test: int = Field(ge=2, description="towns asked about only in the test split (count)")


class Exposure(Section):
    """How often the corpus states a fact: three frequencies, drawn fact by fact."""

    common: int = Field(ge=1, description="statements of a common fact in the corpus (count)")
    rare: int = Field(ge=0, description="statements of a rare fact in the corpus (count)")
    unseen: int = Field(ge=0, description="statements of an almost unseen fact in the corpus (count)")
    rare_share: float = Field(ge=0, le=1, description="share of facts that are rare (0..1)")
    unseen_share: float = Field(ge=0, le=1, description="share of facts that are almost unseen (0..1)")


class WorldParams(Section):
    """The closed world: its size, its corpus and its questions."""

    towns: Towns
    exposure: Exposure
    train_general: int = Field(ge=1, description="general training questions (count)")
    train_specific: int = Field(ge=0, description="specific training questions (count)")
    keep_low: float = Field(gt=0, le=1, description="lowest share of facts a general answer states (0..1)")
    keep_high: float = Field(gt=0, le=1, description="highest share of facts a general answer states (0..1)")
