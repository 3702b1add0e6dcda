"""LoRA adapters: new ones, trained ones that go on, their hashes and their files."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from knowtuning.config.training import LoraParams
from knowtuning.core.storage import read_json, write_json
from knowtuning.likelihood import Likelihood
from knowtuning.runtime.machine import Hardware

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


def new_adapter(model: PreTrainedModel, params: LoraParams) -> PeftModel:
    """The base model with an untrained LoRA adapter (its output is still the base model's)."""
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
        return _uncast(get_peft_model(model, config))
    except ValueError as error:
        raise ValueError(f"lora.targets is {params.targets!r}; {error}") from error


def trained_adapter(model: PreTrainedModel, folder: Path) -> PeftModel:
    """The base model with a saved adapter, ready to be trained further."""
    from peft import PeftModel

    # The name "default" is the one TRL copies its frozen reference from.
    found = PeftModel.from_pretrained(model, str(folder), adapter_name="default", is_trainable=True)
    return _uncast(found)


def _uncast(model: PeftModel) -> PeftModel:
    """Keep PEFT from casting the input of every adapter to float32, which autocast casts back at once."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    layers: list[Any] = [module for module in model.modules() if isinstance(module, BaseTunerLayer)]
    for layer in layers:
        layer.cast_input_dtype_enabled = False
    return model


def adapted_likelihood(model: Any, hardware: Hardware) -> Likelihood:
    """The likelihood under a model with its adapter, which goes back to training where it was."""
    was_training = model.training
    found = Likelihood(model.eval().get_base_model(), bfloat16=hardware.precision == "bfloat16")
    model.train(was_training)
    return found


def adapter_hash(model: Any, name: str = "default") -> str:
    """sha256 over the names and bytes of an adapter's weights, in name order, as float32."""
    from peft import get_peft_model_state_dict

    total = hashlib.sha256()
    for key, value in sorted(get_peft_model_state_dict(model, adapter_name=name).items()):
        total.update(key.encode("utf-8") + b"\0" + value.detach().float().cpu().numpy().tobytes())
    return total.hexdigest()


def save_adapter(model: Any, folder: Path) -> None:
    """Write the adapter `default` alone: its configuration and its weights, nothing else.

    TRL keeps a frozen copy named `ref` beside it, which must not reach the output.
    """
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder, selected_adapters=["default"], safe_serialization=True)
    (folder / "README.md").unlink(missing_ok=True)
    # PEFT writes this set in hash order, which differs from process to process.
    config = read_json(folder / CONFIG)
    if isinstance(config["target_modules"], list):
        config["target_modules"].sort()
    write_json(folder / CONFIG, config)
