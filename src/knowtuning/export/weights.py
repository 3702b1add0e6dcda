"""The files of an exported model: merged weights, generation config, and the adapter alone."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from knowtuning.config.predict import PredictParams
from knowtuning.core.storage import read_json, write_json
from knowtuning.model.load import source_of
from knowtuning.model.prompt import Formatter
from knowtuning.training.adapters import CONFIG, WEIGHTS


def merged(base: Path, adapter: Path) -> Any:
    """The base model with the adapter merged, in the type that the base model's own weights have.

    A base model of 4 bits (base.quantization) is taken in that type too: a merge into 4 bits would round.
    """
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    name, arguments = source_of(base)
    model = AutoModelForCausalLM.from_pretrained(
        name, dtype="auto", trust_remote_code=False, use_safetensors=True, **arguments
    )
    return PeftModel.from_pretrained(model, str(adapter)).merge_and_unload().eval()


def generation_config(formatter: Formatter, params: PredictParams) -> Any:
    """How `predict` makes answers, with every token that ends a turn."""
    from transformers import GenerationConfig

    sampling = {"temperature": params.temperature, "top_p": params.top_p, "top_k": params.top_k or 0}
    return GenerationConfig(  # type: ignore[no-untyped-call]
        bos_token_id=formatter.tokenizer.bos_token_id,
        eos_token_id=list(formatter.ends),
        pad_token_id=formatter.tokenizer.pad_token_id,
        max_new_tokens=params.max_new_tokens,
        do_sample=params.temperature > 0,
        **(sampling if params.temperature else {}),
    )


def copy_adapter(base: Path, adapter: Path, out: Path) -> None:
    """The adapter's two files, with the base model's name and commit in its configuration."""
    out.mkdir(parents=True)
    shutil.copyfile(adapter / WEIGHTS, out / WEIGHTS)
    name, arguments = source_of(base)
    revision = arguments.get("revision")
    write_json(
        out / CONFIG, {**read_json(adapter / CONFIG), "base_model_name_or_path": name, "revision": revision}
    )
