"""Loading of base models, tokenizers and adapters; safetensors only, never remote code.

`models/base/` holds either a whole small model (source `scratch`) or `pin.json` with the id and the
commit of a Hugging Face model whose weights stay in the Hugging Face cache (source `hub`).
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from knowtuning.core.storage import read_json

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

PIN = "pin.json"


def source_of(base: Path) -> tuple[str, dict[str, Any]]:
    """Where the weights of a base folder are: a name or path, and keyword arguments to load it with."""
    pin = base / PIN
    if not pin.exists():
        return str(base), {}
    content = read_json(pin)
    local = content["commit"] == "local"
    return str(content["id"]), {} if local else {"revision": str(content["commit"])}


def quantized(base: Path) -> bool:
    """Whether the base model is loaded with weights of 4 bits (base.quantization: nf4)."""
    pin = base / PIN
    return pin.exists() and read_json(pin).get("quantization") == "nf4"


def weights_stamp(base: Path) -> list[tuple[str, int, int]]:
    """Names, sizes (bytes) and times (ns) of the files a pin to a local folder stands for; else nothing.

    A commit of the hub never changes and a model of ours lies in `base` itself, but a folder may change.
    """
    name, arguments = source_of(base)
    if name == str(base) or arguments:
        return []
    stats = ((path, path.stat()) for path in sorted(Path(name).iterdir()) if path.is_file())
    return [(path.name, stat.st_size, stat.st_mtime_ns) for path, stat in stats]


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


def config_ends(base: Path) -> list[int]:
    """The tokens that end an answer by the model's generation config, none where it has no such file."""
    from transformers import GenerationConfig

    name, arguments = source_of(base)
    try:
        ends = GenerationConfig.from_pretrained(name, **arguments).eos_token_id
    except OSError:
        return []
    return [] if ends is None else [ends] if isinstance(ends, int) else list(ends)


def load_context(base: Path) -> int | None:
    """`context_of` the model of a base folder, whose weights stay where they are."""
    from transformers import AutoConfig

    name, arguments = source_of(base)
    return context_of(AutoConfig.from_pretrained(name, trust_remote_code=False, **arguments))


def context_of(config: Any) -> int | None:
    """The longest sequence that a model was made for (tokens); None where its configuration has no limit."""
    limit = getattr(config.get_text_config(), "max_position_embeddings", None)
    return limit if isinstance(limit, int) and limit > 0 else None


def load_base(base: Path, *, dtype: torch.dtype, device: str) -> PreTrainedModel:
    """The base model of a base folder on `device`, frozen, in evaluation mode."""
    import torch
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    name, arguments = source_of(base)
    if quantized(base):
        if find_spec("bitsandbytes") is None:
            raise ValueError(
                "base.quantization is nf4, which needs bitsandbytes; `pip install bitsandbytes`, or none"
            )
        nf4 = BitsAndBytesConfig(  # type: ignore[no-untyped-call]
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=torch.bfloat16,
        )
        arguments |= {"quantization_config": nf4, "device_map": {"": device}}
    model: Any = AutoModelForCausalLM.from_pretrained(
        name, dtype=dtype, trust_remote_code=False, use_safetensors=True, **arguments
    )
    if device == "cuda":
        # cuDNN makes a plan of attention for each new length of a batch. Measured on an H100: 3 ms in each
        # layer, forth and back, where the kernel takes 0.02 and 0.08 ms.
        torch.backends.cuda.enable_cudnn_sdp(False)
    if device != "cpu" and not quantized(base):
        model = model.to(device)
    loaded: PreTrainedModel = model.eval().requires_grad_(False)
    return loaded


def load_system(base: Path, adapter: Path | None, *, dtype: torch.dtype, device: str) -> Any:
    """The base model, or with `adapter` the base model with that LoRA adapter merged into its weights.

    Weights of 4 bits would be rounded once more by a merge: there the adapter stays beside them.
    """
    model = load_base(base, dtype=dtype, device=device)
    if adapter is None:
        return model
    from peft import PeftModel

    adapted = PeftModel.from_pretrained(model, str(adapter)).eval()
    return adapted if quantized(base) else adapted.merge_and_unload().eval()
