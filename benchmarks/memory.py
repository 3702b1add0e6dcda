"""GPU memory that LoRA training needs, from shapes alone: `python benchmarks/memory.py`.

Builds the models on torch's meta device (no weights, no GPU) and prints a Markdown table in GiB. Weights,
adapter, gradients and AdamW's moments are exact; activations are an estimate for gradient checkpointing: the
input of every block, one block computed again, and the logits in the model's type and in float32, with their
gradient. Split over several cards (experiments/accelerate/fsdp.yaml) are the weights of the blocks, of which
each card gathers two at a time; embeddings, head and adapter are whole on each. What CUDA itself takes (about
1 GiB) and fragmentation come on top.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import Any

GIB = 2**30
# hidden, feed-forward, blocks, heads, key-value heads: the published shapes of Llama 2, vocabulary 32,000.
SHAPES = {
    "7B": (4096, 11008, 32, 32, 32),
    "13B": (5120, 13824, 40, 40, 40),
    "70B": (8192, 28672, 80, 64, 8),
}
VOCABULARY = 32000
# The released scripts' adapter, and one on all linear layers.
ADAPTERS = (("r 8 on q, v", 8, ["q_proj", "v_proj"]), ("r 16 on all", 16, "all-linear"))


@dataclass(frozen=True)
class Need:
    """Bytes. blocks and rest: the frozen model in bfloat16; block: one of them; adapter: float32 with
    gradients and two moments."""

    parameters: int
    trained: int
    blocks: int
    block: int
    rest: int
    adapter: int
    activations: int

    def on(self, cards: int) -> float:
        """GiB on each of `cards` that split the blocks, each with its own rows."""
        gathered = 2 * self.block if cards > 1 else 0
        return (self.blocks / cards + gathered + self.rest + self.adapter + self.activations) / GIB


def model_of(hidden: int, inner: int, blocks: int, heads: int, kv_heads: int) -> Any:
    """A Llama of that shape without weights."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=hidden,
        intermediate_size=inner,
        num_hidden_layers=blocks,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
    )
    with torch.device("meta"):
        return LlamaForCausalLM(config)


def need(name: str, *, rank: int, targets: list[str] | str, rows: int, length: int) -> Need:
    """What training a LoRA adapter of `rank` on `rows` sequences of `length` tokens a pass needs."""
    import torch
    from peft import LoraConfig, get_peft_model

    shape = SHAPES[name]
    model = model_of(*shape)
    parameters = sum(p.numel() for p in model.parameters())
    inside = sum(p.numel() for p in model.model.layers.parameters())
    with torch.device("meta"):
        adapted = get_peft_model(model, LoraConfig(r=rank, target_modules=targets, task_type="CAUSAL_LM"))
    trained = sum(p.numel() for p in adapted.parameters() if p.requires_grad)
    hidden, inner, blocks, heads, kv_heads = shape
    tokens, half, single = rows * length, 2, 4
    kept = tokens * hidden * blocks * half
    # Inside one block: norms, queries, keys, values, attention output (4 widths and the shared heads), and
    # gate, up, their product and its input, in bfloat16.
    block = tokens * half * (6 * hidden + 2 * hidden * kv_heads // heads + 4 * inner)
    logits = tokens * VOCABULARY * (half + 2 * single)
    return Need(
        parameters=parameters,
        trained=trained,
        blocks=inside * half,
        block=inside * half // blocks,
        rest=(parameters - inside) * half,
        adapter=trained * 4 * single,
        activations=kept + block + logits,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rows", type=int, default=4, help="rows a forward pass (KNOWTUNING_MICRO_BATCH)")
    parser.add_argument("--length", type=int, default=1024, help="tokens a row (model.max_length)")
    options = parser.parse_args()
    cards = (1, 2, 4, 8)
    heads = " | ".join(f"{count} card{'s' if count > 1 else ''}" for count in cards)
    print(f"| model | adapter | parameters | trained | {heads} |")
    print("|---|---|---:|---:|" + "---:|" * len(cards))
    for name in SHAPES:
        for title, rank, targets in ADAPTERS:
            found = need(name, rank=rank, targets=targets, rows=options.rows, length=options.length)
            cells = " | ".join(f"{found.on(count):.0f}" for count in cards)
            counts = f"{found.parameters / 1e9:.2f} B | {found.trained / 1e6:.1f} M"
            print(f"| {name} | {title} | {counts} | {cells} |")


if __name__ == "__main__":
    main()
