"""Parameters of the closed world (`prepare.world`)."""

from __future__ import annotations

from pydantic import Field, model_validator

from knowtuning.core.params import Section, Share

# Of the 14,400 names that the syllables make, some go to people and rivers.
MOST_TOWNS = 10_000


class Towns(Section):
    """How many towns each part is about; no town is in two of them."""

    guide: int = Field(
        ge=0, description="towns the corpus asks about, so that the base model has read questions (count)"
    )

    train: int = Field(ge=8, description="towns asked about in fine-tuning data (count)")
    valid: int = Field(ge=2, description="towns asked about only in the validation split (count)")
    test: int = Field(ge=2, description="towns asked about only in the test split (count)")

    @model_validator(mode="after")
    def _enough_names(self) -> Towns:
        total = self.guide + self.train + self.valid + self.test
        if total > MOST_TOWNS:
            raise ValueError(f"at most {MOST_TOWNS} towns in all: there are no more names (found {total})")
        return self


class Exposure(Section):
    """How often the corpus states a fact: three frequencies, drawn fact by fact."""

    common: int = Field(ge=1, description="statements of a common fact in the corpus (count)")
    rare: int = Field(ge=0, description="statements of a rare fact in the corpus (count)")
    unseen: int = Field(ge=0, description="statements of an almost unseen fact in the corpus (count)")
    rare_share: Share = Field(description="share of facts that are rare (0..1)")
    unseen_share: Share = Field(description="share of facts that are almost unseen (0..1)")


class WorldParams(Section):
    """The closed world: its size, its corpus and its questions."""

    towns: Towns
    exposure: Exposure
    prose: Share = Field(
        description="share of the guide's answers in connected prose, with pronouns, joined clauses and all "
        "the sentences that the teacher `world` writes, so that the base model has read them (0..1)"
    )
    train_general: int = Field(ge=1, description="general training questions (count)")
    train_specific: int = Field(ge=0, description="specific training questions (count)")
    keep_low: float = Field(gt=0, le=1, description="lowest share of facts a general answer states (0..1)")
    keep_high: float = Field(gt=0, le=1, description="highest share of facts a general answer states (0..1)")
    disordered: Share = Field(
        description="share of training answers whose facts stand in random order, so that order is something "
        "to learn from pairs (0..1)"
    )
