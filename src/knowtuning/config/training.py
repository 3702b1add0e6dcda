"""Parameters of training: the adapters, and a section for each system that is trained (systems.py)."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, create_model

from knowtuning.core.params import ModelParams, Section, Seed, Selection, Share
from knowtuning.core.tables import name_in
from knowtuning.systems import REWRITES, trained
from knowtuning.training.counted import COUNTED
from knowtuning.training.losses import LOSSES


class LoraParams(Section):
    """The shape of the adapters that supervised fine-tuning begins."""

    r: int = Field(ge=1, description="rank (released scripts: 8, their framework's default)")
    alpha: int = Field(ge=1, description="scale, applied as alpha / r (released scripts: 16)")
    dropout: float = Field(ge=0, lt=1, description="dropout on the adapter's input (released scripts: 0)")
    targets: list[str] | Literal["all-linear"] = Field(
        description="module names, or all-linear (released scripts: q_proj, v_proj)"
    )


class Schedule(Section):
    """Optimisation of one training stage."""

    lr: float = Field(gt=0, description="peak learning rate (released: 1e-4 for SFT and KA, 1e-5 for KC)")
    epochs: float = Field(gt=0, description="passes over the data (released: 3 for SFT and KA, 1 for KC)")
    batch: int = Field(ge=1, description="rows a step over all devices (released: 32 SFT and KA, 16 KC)")
    schedule: Literal["cosine", "linear", "constant"] = Field(
        description="learning rate after the warm-up (released: cosine)"
    )
    warmup: float = Field(ge=0, lt=1, description="share of steps in which the rate rises (0..1)")
    weight_decay: float = Field(ge=0, description="AdamW weight decay (released: 0)")
    max_grad_norm: float = Field(gt=0, description="gradients are clipped to this norm (released: 1.0)")
    eval_rows: int = Field(
        ge=1,
        description="examples held out, with all their rows, to choose the best checkpoint (released: 100)",
    )
    eval_every: float = Field(gt=0, le=1, description="evaluate and save each share of steps (released: 0.1)")
    max_rejected: Share = Field(description="share of rows whose completion may be cut off whole")


class PreferenceParams(Schedule):
    """Optimisation on preference pairs, which continues another system's adapter."""

    loss: Annotated[str, name_in(LOSSES)] = Field(
        description="loss of a pair: dpo (paper), dpo_mean or ipo; training/losses.py has them"
    )
    counted: Annotated[str, name_in(COUNTED)] = Field(
        description="tokens of a pair that this loss counts: all (paper), but_end, differing or "
        "shared_length; training/counted.py has them"
    )
    beta: float = Field(gt=0, description="strength of the pull to the reference (DPO beta; released: 0.1)")
    gamma: float = Field(ge=0, description="weight of NLL(chosen) beside that loss (released: 0.2)")
    reference: Literal["adapter", "base"] = Field(
        description="frozen reference policy: the adapter that is continued (paper), or the raw base model "
        "(released code)"
    )


class AugmentedParams(Schedule):
    """Optimisation on examples and on the rewrites made from them."""

    originals: Share = Field(
        description="share of the examples with a rewrite that are trained on beside it; 1: all (paper), 0: "
        "a rewrite takes its example's place (0..1)"
    )


SECTIONS: dict[str, type[Schedule]] = {"sft": Schedule, "preference": PreferenceParams}


def sections() -> dict[str, Any]:
    """The section of every system that is trained, as fields of a model."""
    return {
        system.section: (AugmentedParams if REWRITES in system.data else SECTIONS[system.objective], ...)
        for system in trained().values()
    }


class TrainStage(Selection):
    """What every training stage reads beside the section of its system."""

    seed: Seed
    model: ModelParams


def train_stage(name: str) -> type[TrainStage]:
    """What the training stage of the system `name` reads: the above, and the section of the system."""
    system = trained()[name]
    fields: Any = {system.section: sections()[system.section]}
    if not system.continues:  # a continued adapter has its shape
        fields["lora"] = (LoraParams, ...)
    return create_model("Train", __base__=TrainStage, **fields)
