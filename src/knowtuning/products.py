"""Matrix products of a model that is not trained, on a CPU, with weights that are packed once.

A product in float32 first brings the weight into the order in which the processor reads it; with the few rows
of a step of decoding that takes as long as the product. oneDNN can keep the weight in that order, as torch's
compiler does for frozen models.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch.nn.functional import linear

# The number of rows that the order is chosen for; a product may have any.
_ROWS = 32


class PackedLinear(torch.nn.Module):
    """What a linear layer computes; its weight lies packed, and plain only for the moment it is asked for."""

    def __init__(self, layer: torch.nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = layer.in_features, layer.out_features
        self.bias = layer.bias
        self._packed = _pack(layer.weight.detach())

    @property
    def weight(self) -> torch.Tensor:
        """(out, in), unpacked."""
        return self._packed.to_dense()

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        return _product(states, self._packed, self.bias)


def pack_weights(model: Any, *, split: bool = False) -> None:
    """Let the linear layers of a model compute by packed weights: on a CPU, in float32, without gradients.

    A packed weight takes the place of the plain one, but where that is the embedding as well. split: the
    weights lie in parts on several processes and are packed each time they come together, so that the
    results are the same to the last bit.
    """
    if model.device.type != "cpu" or model.dtype != torch.float32 or not _packs():
        return
    for parent in list(model.modules()):
        for name, layer in list(parent.named_children()):
            if type(layer) is not torch.nn.Linear:
                continue
            if split:
                layer.forward = functools.partial(_packing, layer)  # type: ignore[method-assign]
            else:
                setattr(parent, name, PackedLinear(layer))


def _packing(layer: torch.nn.Linear, states: torch.Tensor) -> torch.Tensor:
    return _product(states, _pack(layer.weight.detach()), layer.bias)


def _pack(weight: torch.Tensor) -> torch.Tensor:
    packed: torch.Tensor = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), _ROWS)
    return packed


def _product(states: torch.Tensor, packed: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    found: torch.Tensor = torch.ops.mkldnn._linear_pointwise(states, packed, bias, "none", [], "")
    return found


@functools.lru_cache(maxsize=1)
def _packs() -> bool:
    """Whether this torch has such products (its compiler's, not for the public), and they are right."""
    states, weight = torch.linspace(-1, 1, 96).view(3, 32), torch.linspace(-1, 2, 1280).view(40, 32)
    try:
        packed = _pack(weight)
        found = _product(states, packed, None)
        whole = torch.equal(packed.to_dense(), weight)
    except (AttributeError, RuntimeError):
        return False
    return whole and torch.allclose(found, linear(states, weight), rtol=1e-5, atol=1e-5)
