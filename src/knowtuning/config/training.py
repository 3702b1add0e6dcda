"""Parameters of the base model and of training: sections base, lora, train_sft, train_ka, train_kc."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, ValidationInfo, field_validator

from knowtuning.core.params import ModelParams, Section, Seed, Selection


class Scratch(Section):
    """A small Llama and its tokenizer, trained on the prepared corpus."""

    vocab: int = Field(ge=300, description="tokenizer entries at most (count); bytes and marks take 259")
    hidden: int = Field(ge=16, description="width of the model (count)")
    layers: int = Field(ge=1, description="transformer blocks (count)")
    heads: int = Field(ge=1, description="attention heads (count); divides hidden")
    context: int = Field(ge=32, description="longest input the model accepts (tokens)")
    sequence: int = Field(ge=16, description="length of training sequences (tokens)")
    batch: int = Field(ge=1, description="training sequences a step (count)")
    epochs: float = Field(gt=0, description="passes over the corpus")
    max_steps: int | None = Field(ge=1, description="steps at most, whatever epochs says; null for no limit")
    muon_lr: float = Field(gt=0, description="peak learning rate of the weight matrices (Muon)")
    adamw_lr: float = Field(gt=0, description="peak learning rate of embeddings and norms (AdamW)")


class Hub(Section):
    """A model of the Hugging Face hub."""

    id: str | None = Field(description="model id, such as meta-llama/Llama-2-7b-hf")
    revision: str | None = Field(description="branch, tag or commit; null for the default branch")


class BaseParams(Section):
    """Where the base model comes from."""

    source: Literal["scratch", "hub"] = Field(description="train one from scratch, or pin one of the hub")
    quantization: Literal["none", "nf4"] = Field(
        description="frozen weights as published, or in 4 bits (bitsandbytes) for cards of 8 to 16 GB"
    )
    scratch: Scratch
    hub: Hub

    @field_validator("quantization")
    @classmethod
    def _of_a_published_model(cls, value: str, info: ValidationInfo) -> str:
        if value != "none" and info.data.get("source") == "scratch":
            raise ValueError("none with base.source scratch, whose model is small")
        return value


class LoraParams(Section):
    """The adapter that train_sft, train_ka and train_kc train."""

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
    eval_rows: int = Field(ge=1, description="rows held out to choose the best checkpoint (released: 100)")
    eval_every: float = Field(gt=0, le=1, description="evaluate and save each share of steps (released: 0.1)")
    max_rejected: float = Field(ge=0, le=1, description="share of rows whose completion may be cut off whole")


class KCParams(Schedule):
    """Optimisation of the knowledge comparison: DPO that continues the KA adapter."""

    beta: float = Field(gt=0, description="strength of the pull to the reference (DPO beta; released: 0.1)")
    gamma: float = Field(ge=0, description="weight of NLL(chosen) beside the DPO loss (released: 0.2)")
    reference: Literal["ka", "base"] = Field(
        description="frozen reference policy: the KA adapter (paper), or the raw base model (released code)"
    )


class BaseStage(Selection):
    """What the stage base reads."""

    seed: Seed
    base: BaseParams


class SFTStage(Selection):
    """What the stage train_sft reads."""

    seed: Seed
    model: ModelParams
    lora: LoraParams
    train_sft: Schedule


class KAStage(Selection):
    """What the stage train_ka reads."""

    seed: Seed
    model: ModelParams
    lora: LoraParams
    train_ka: Schedule


class KCStage(Selection):
    """What the stage train_kc reads; the adapter's shape comes with the KA adapter."""

    seed: Seed
    model: ModelParams
    train_kc: KCParams
