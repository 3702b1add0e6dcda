"""Muon: momentum orthogonalised by a Newton-Schulz iteration (Jordan et al., 2024), for weight matrices.

torch.optim.Muon iterates in bfloat16, which a CPU without bfloat16 instructions emulates: there it took
70 % of a training step of the default base model. This one iterates in the type it is told and treats all
matrices of a shape as one batch.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import torch

# The quintic of the reference implementation: steep at zero, so that small singular values rise fast.
_A, _B, _C = 3.4445, -4.7750, 2.0315
_ITERATIONS, _MOMENTUM = 5, 0.95


def orthogonalise(matrices: torch.Tensor) -> torch.Tensor:
    """Push the singular values of each matrix of a batch (n, rows, columns) towards 1."""
    tall = matrices.shape[-2] > matrices.shape[-1]
    x: torch.Tensor = matrices.mT if tall else matrices
    x = x / (torch.linalg.matrix_norm(x, keepdim=True) + 1e-7)
    for _ in range(_ITERATIONS):
        gram = x @ x.mT
        x = _A * x + (_B * gram + _C * gram @ gram) @ x
    return x.mT if tall else x


class Muon(torch.optim.Optimizer):
    """Nesterov momentum whose update is orthogonalised, in `dtype`. Parameters must be matrices."""

    def __init__(
        self, params: Iterable[torch.nn.Parameter], lr: float, dtype: torch.dtype = torch.float32
    ) -> None:
        super().__init__(params, {"lr": lr})
        self._dtype = dtype

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[Any]] = defaultdict(list)
            for parameter in group["params"]:
                if parameter.grad is not None:
                    by_shape[parameter.shape].append(parameter)
            for shape, parameters in by_shape.items():
                gradient = torch.stack([parameter.grad for parameter in parameters])
                # The momentum of all parameters of a shape lives in the state of the first.
                state = self.state[parameters[0]]
                if "momentum" not in state:
                    state["momentum"] = torch.zeros_like(gradient)
                state["momentum"].lerp_(gradient, 1 - _MOMENTUM)
                update = orthogonalise(gradient.lerp(state["momentum"], _MOMENTUM).to(self._dtype))
                # Wide layers would otherwise move less per step than square ones.
                scale = max(1.0, shape[0] / shape[1]) ** 0.5
                for parameter, change in zip(parameters, update, strict=True):
                    parameter.add_(change, alpha=-group["lr"] * scale)
