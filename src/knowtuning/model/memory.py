"""How many rows go through the model at a time in training, and whether activations are kept.

Without checkpointing a token's activations take `ACTIVATIONS` times its hidden size in each layer (bytes, in
bfloat16; twice that in float32); with it, its input to each layer, and all activations of one layer at a
time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from knowtuning.model.hardware import Hardware

# Bytes a token, layer and unit of hidden size in bfloat16, with adapters on all linear layers, whose inputs
# are kept too. Measured at 135M on a CPU: 77, with adapters on q and v 52; the latter at 7B on an H200: 34.
ACTIVATIONS = 80
# Tokens of a pass on a CPU, where larger ones gain nothing, and what their activations may take (bytes).
CPU_TOKENS, _CPU_BYTES = 2048, 2**31
# What a pass costs beside its tokens, in tokens: on a GPU, where each kernel is started by itself; on a CPU.
_PASS_TOKENS = (1024, 128)
# Share of a card's free memory that activations may take; the rest is for the optimiser, logits and gaps.
_SHARE = 0.8


@dataclass(frozen=True)
class Plan:
    """micro_batch: rows of a pass. checkpointing: whether the backward pass computes activations again."""

    micro_batch: int
    checkpointing: bool


def plan(lengths: Sequence[int], share: int, config: Any, hardware: Hardware, *, sequences: int = 1) -> Plan:
    """The micro-batch that costs least, of those that fit and divide `share`, a step's rows in this process.

    lengths: of the rows' longest sequences in the order of training (tokens), which says what padding a size
    brings: large passes are few, but a long row pads all others of its pass. sequences: those of a row, 2 for
    pairs. config: the model's.
    """
    width = max(lengths) * sequences
    kept, recomputed = (activation_bytes(config, hardware, checkpointing=again) for again in (False, True))
    free = free_bytes(hardware)
    checkpointing = hardware.checkpointing == "on"
    if hardware.checkpointing == "auto" and free is not None:
        checkpointing = kept * width * (hardware.micro_batch or 1) > free
    if hardware.micro_batch:
        return Plan(min(share, hardware.micro_batch), checkpointing)
    room = (_CPU_BYTES if free is None else free) // (recomputed if checkpointing else kept)
    if free is None:
        room = min(room, CPU_TOKENS)
    fitting = [rows for rows in range(1, share + 1) if share % rows == 0 and rows * width <= room]
    extra = _PASS_TOKENS[hardware.device == "cpu"]

    def cost(rows: int) -> int:
        starts = range(0, len(lengths), rows)
        padded = sum(rows * max(lengths[start : start + rows]) for start in starts)
        return sequences * padded + extra * len(starts)

    return Plan(min(fitting or [1], key=cost), checkpointing)


def activation_bytes(config: Any, hardware: Hardware, *, checkpointing: bool) -> int:
    """Memory of a token's activations (bytes)."""
    config = config.get_text_config()
    layers, number = int(config.num_hidden_layers), 2 if hardware.precision == "bfloat16" else 4
    layer = ACTIVATIONS * int(config.hidden_size) * number // 2
    return layer + layers * int(config.hidden_size) * number if checkpointing else layers * layer


def free_bytes(hardware: Hardware) -> int | None:
    """What activations may take of a card's free memory; None where the device is no card."""
    if hardware.device != "cuda":
        return None
    import torch

    free, _ = torch.cuda.mem_get_info()
    # What torch holds for later is free to us.
    return int(_SHARE * (free + torch.cuda.memory_reserved() - torch.cuda.memory_allocated()))


def cache_tokens(model: Any) -> int:
    """Tokens whose keys and values take 1 GiB of a CPU, or half of what the model leaves of a card."""
    memory = 2**30
    if model.device.type == "cuda":
        import torch

        total = torch.cuda.get_device_properties(model.device).total_memory
        memory = (int(0.9 * total) - model.get_memory_footprint()) // 2
    return max(1, memory // cache_bytes(model))


def cache_bytes(model: Any) -> int:
    """Bytes that a token takes in the model's key-value cache."""
    config = model.config.get_text_config()
    heads = config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // heads
    shared = getattr(config, "num_key_value_heads", None) or heads
    size: int = 2 * config.num_hidden_layers * shared * width * model.dtype.itemsize
    return size


def prefix_limit(model: Any) -> float:
    """The longest sequence (tokens) whose prompt may be cached and shared by several completions.

    0 for models with another state than keys and values, the window for those that attend in one.
    """
    from transformers.cache_utils import DynamicCache, DynamicLayer, DynamicSlidingWindowLayer

    if getattr(model, "_is_stateful", False):
        return 0

    def limit(layer: Any) -> float:
        if type(layer) is DynamicSlidingWindowLayer:
            return float(layer.sliding_window)
        return float("inf") if type(layer) is DynamicLayer else 0

    return min(map(limit, DynamicCache(config=model.config).layers), default=float("inf"))
