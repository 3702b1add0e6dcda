"""GPU memory that training a LoRA adapter takes, computed from shapes alone: `python -m benchmarks.memory`.

No GPU and no weights: models stand on torch's meta device. Prints a Markdown table in GB (1e9 bytes): frozen
weights in bfloat16, or their linear layers in 4 bits (nf4, double quantisation) and the rest in bfloat16; an
adapter of rank 16 on all linear layers in float32 with gradients and AdamW's two moments; activations of one
row of 1,024 tokens, all of them kept or computed again (model/memory.py). CUDA itself (about 1 GB), logits
and gaps come on top.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, dataclass
from typing import Any

from knowtuning.model.hardware import Hardware
from knowtuning.model.memory import activation_bytes

RANK, TOKENS = 16, 1024
# 4 bits a weight, 8 for each block of 64, and 32 for each 256 of these.
NF4 = (4 + 8 / 64 + 32 / (64 * 256)) / 8  # bytes a weight
# Hidden and feed-forward size, layers, heads, key-value heads, vocabulary, whether the head is the embedding:
# SmolLM2 135M, Llama 3.2 1B, Llama 2.
SHAPES = {
    "0.1B": (576, 1536, 30, 9, 3, 49152, True),
    "1B": (2048, 8192, 16, 32, 8, 128256, True),
    "7B": (4096, 11008, 32, 32, 32, 32000, False),
    "13B": (5120, 13824, 40, 40, 40, 32000, False),
    "70B": (8192, 28672, 80, 64, 8, 32000, False),
}


@dataclass(frozen=True)
class Need:
    """Bytes. kept, recomputed: activations without and with checkpointing."""

    bfloat16: int
    nf4: float
    adapter: int
    kept: int
    recomputed: int


def config_of(name: str) -> Any:
    """The configuration of a model of SHAPES."""
    from transformers import LlamaConfig

    hidden, inner, layers, heads, shared, vocabulary, tied = SHAPES[name]
    return LlamaConfig(
        hidden_size=hidden,
        intermediate_size=inner,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=shared,
        vocab_size=vocabulary,
        tie_word_embeddings=tied,
    )


def need(name: str) -> Need:
    """What training an adapter of a model takes."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import LlamaForCausalLM

    config = config_of(name)
    lora = LoraConfig(r=RANK, target_modules="all-linear", task_type="CAUSAL_LM")
    with torch.device("meta"):
        model = LlamaForCausalLM(config)
        weights = sum(p.numel() for p in model.parameters())
        linear = sum(p.numel() for p in model.model.layers.parameters() if p.ndim == 2)
        adapted = get_peft_model(model, lora)
    trained = sum(p.numel() for p in adapted.parameters() if p.requires_grad)
    hardware = Hardware("cuda", "bfloat16")
    kept, recomputed = (
        TOKENS * activation_bytes(config, hardware, checkpointing=again) for again in (False, True)
    )
    return Need(2 * weights, NF4 * linear + 2 * (weights - linear), 16 * trained, kept, recomputed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("models", nargs="*", choices=SHAPES, help="default: all")
    parser.add_argument("--json", action="store_true", help="print the bytes as JSON instead")
    arguments = parser.parse_args()
    needs = {name: need(name) for name in arguments.models or SHAPES}
    if arguments.json:
        print(json.dumps({name: asdict(row) for name, row in needs.items()}))
        return
    print("| computed, GB | weights, bf16 | weights, nf4 | adapter, optimiser | activations | recomputed |")
    print("|---|---:|---:|---:|---:|---:|")
    for name, row in needs.items():
        sizes = row.bfloat16, row.nf4, row.adapter, row.kept, row.recomputed
        print(f"| {name} | {' | '.join(f'{size / 1e9:.2f}' for size in sizes)} |")


if __name__ == "__main__":
    main()
