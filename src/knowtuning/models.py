"""Loading of base models, tokenizers and adapters; safetensors only, never remote code.

`models/base/` holds either a whole small model (source `scratch`) or `pin.json` with the id and the
commit of a Hugging Face model whose weights stay in the Hugging Face cache (source `hub`).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from knowtuning.storage import read_json

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

PIN = "pin.json"


def source_of(base: Path) -> tuple[str, dict[str, Any]]:
    """Where the weights of a base folder are: a name or path, and keyword arguments to load it with."""
    pin = base / PIN
    if pin.exists():
        found = read_json(pin)
        local = found["commit"] == "local"
        return str(found["id"]), {} if local else {"revision": str(found["commit"])}
    return str(base), {}


def weights_stamp(base: Path) -> list[tuple[str, int, int]]:
    """Names, sizes (bytes) and times (ns) of the files a pin to a local folder stands for; else nothing.

    A commit of the hub never changes and a model of ours lies in `base` itself, but a folder may change.
    """
    name, arguments = source_of(base)
    if name == str(base) or arguments:
        return []
    found = ((path, path.stat()) for path in sorted(Path(name).iterdir()) if path.is_file())
    return [(path.name, stat.st_size, stat.st_mtime_ns) for path, stat in found]


def load_tokenizer(base: Path) -> PreTrainedTokenizerBase:
    """The tokenizer of a base folder, with a padding token (the end-of-sequence token if it has none)."""
    from transformers import AutoTokenizer

    name, arguments = source_of(base)
    tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=False, **arguments)
    if tokenizer.eos_token_id is None:
        raise ValueError(f"{name}: its tokenizer has no end-of-sequence token; answers would never end")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def load_base(base: Path, *, dtype: torch.dtype, device: str) -> PreTrainedModel:
    """The base model of a base folder on `device`, in evaluation mode."""
    from transformers import AutoModelForCausalLM

    name, arguments = source_of(base)
    model: Any = AutoModelForCausalLM.from_pretrained(
        name, dtype=dtype, trust_remote_code=False, use_safetensors=True, **arguments
    )
    loaded: PreTrainedModel = model.to(device).eval()
    return loaded


def load_system(base: Path, adapter: Path | None, *, dtype: torch.dtype, device: str) -> Any:
    """The base model, or with `adapter` the base model with that LoRA adapter merged into it."""
    model = load_base(base, dtype=dtype, device=device)
    if adapter is None:
        return model
    from peft import PeftModel

    return PeftModel.from_pretrained(model, str(adapter)).merge_and_unload().eval()
