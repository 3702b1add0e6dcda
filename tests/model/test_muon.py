"""Muon: the orthogonalisation against the singular value decomposition, batches against single matrices."""

from __future__ import annotations

import pytest
import torch

from knowtuning.pretraining.muon import Muon, orthogonalise


@pytest.mark.parametrize("shape", [(8, 8), (6, 15), (15, 6)])
def test_orthogonalise_keeps_the_singular_vectors(shape: tuple[int, int]) -> None:
    torch.manual_seed(1)
    matrix = torch.randn(shape, dtype=torch.float64)
    u, s, vt = torch.linalg.svd(matrix, full_matrices=False)
    # The same odd polynomial acts on each singular value, so the result is U p(S) V^T exactly.
    values = s / s.norm()
    for _ in range(5):
        values = 3.4445 * values - 4.7750 * values**3 + 2.0315 * values**5
    expected = u @ torch.diag(values) @ vt
    torch.testing.assert_close(orthogonalise(matrix[None])[0], expected, rtol=1e-5, atol=1e-6)


def test_matrices_of_a_shape_do_not_mix() -> None:
    torch.manual_seed(2)
    starts = [torch.randn(4, 6) for _ in range(3)]
    gradients = [torch.randn(4, 6) for _ in range(3)]

    def stepped(indices: list[int]) -> list[torch.Tensor]:
        parameters = [torch.nn.Parameter(starts[i].clone()) for i in indices]
        optimizer = Muon(parameters, lr=0.1)
        for _ in range(2):
            for parameter, i in zip(parameters, indices, strict=True):
                parameter.grad = gradients[i].clone()
            optimizer.step()
        return [parameter.detach() for parameter in parameters]

    together = stepped([0, 1, 2])
    for i in range(3):
        torch.testing.assert_close(together[i], stepped([i])[0], rtol=1e-5, atol=1e-6)


def test_agrees_with_torch_up_to_its_bfloat16() -> None:
    torch.manual_seed(3)
    start, gradient = torch.randn(8, 8), torch.randn(8, 8)
    moved = []
    for kind, arguments in ((Muon, {}), (torch.optim.Muon, {"weight_decay": 0.0})):
        parameter = torch.nn.Parameter(start.clone())
        optimizer = kind([parameter], lr=0.1, **arguments)
        parameter.grad = gradient.clone()
        optimizer.step()
        moved.append(parameter.detach())
    # bfloat16 carries 8 bits: the updates, of entries around 0.1 * 0.35, agree to about 1 %.
    torch.testing.assert_close(moved[0], moved[1], rtol=0, atol=2e-3)
