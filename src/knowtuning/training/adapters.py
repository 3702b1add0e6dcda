"""LoRA adapters: new ones, trained ones that go on, their hashes and their files."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from knowtuning.config.training import LoraParams
from knowtuning.core.storage import read_json, write_json

if TYPE_CHECKING:
    import torch
    from peft import PeftModel
    from transformers import PreTrainedModel

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


def new_adapter(model: PreTrainedModel, params: LoraParams, *, float32: bool = True) -> PeftModel:
    """The base model with an untrained LoRA adapter (its output is still the base model's).

    float32: whether its weights are; if not they are of the base model's type, as FSDP and ZeRO-3 want it.
    """
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(
        r=params.r,
        lora_alpha=params.alpha,
        lora_dropout=params.dropout,
        target_modules=params.targets,
        bias="none",
        task_type="CAUSAL_LM",
    )
    try:
        return get_peft_model(model, config, autocast_adapter_dtype=float32)
    except ValueError as error:
        raise ValueError(f"lora.targets is {params.targets!r}; {error}") from error


def trained_adapter(model: PreTrainedModel, folder: Path, *, float32: bool = True) -> PeftModel:
    """The base model with a saved adapter, ready to be trained further; float32: see `new_adapter`."""
    from peft import PeftModel

    # The name "default" is the one TRL copies its frozen reference from.
    return PeftModel.from_pretrained(
        model, str(folder), adapter_name="default", is_trainable=True, autocast_adapter_dtype=float32
    )


def adapter_hash(model: Any, name: str = "default", weights: dict[str, Any] | None = None) -> str:
    """sha256 over the names and bytes of an adapter's weights, in name order, as float32.

    weights: all of the model's, gathered, where they are split over processes.
    """
    from peft import get_peft_model_state_dict

    return _sha256(get_peft_model_state_dict(model, weights, adapter_name=name))


def saved_hash(folder: Path) -> str:
    """The `adapter_hash` of an adapter that `save_adapter` has written, without its model."""
    from safetensors.torch import load_file

    return _sha256(load_file(folder / WEIGHTS))


def _sha256(weights: Mapping[str, torch.Tensor]) -> str:
    total = hashlib.sha256()
    for key, value in sorted(weights.items()):
        total.update(key.encode("utf-8") + b"\0" + value.detach().float().cpu().numpy().tobytes())
    return total.hexdigest()


def save_adapter(model: Any, folder: Path, weights: dict[str, Any] | None = None) -> None:
    """Write the adapter `default` alone: its configuration and its weights, nothing else; weights: see above.

    TRL keeps a frozen copy named `ref` beside it, which must not reach the output.
    """
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder, selected_adapters=["default"], state_dict=weights)
    (folder / "README.md").unlink(missing_ok=True)
    # PEFT writes this set in hash order, which differs from process to process.
    config = read_json(folder / CONFIG)
    if isinstance(config["target_modules"], list):
        config["target_modules"].sort()
    write_json(folder / CONFIG, config)
