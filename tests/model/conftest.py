"""Adapters that several tests of training start from."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def ka(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter that differs from the base model: its B matrices are not zero."""
    import torch

    from knowtuning.model.load import load_base
    from knowtuning.training.adapters import new_adapter, save_adapter
    from tests.support.training import LORA

    out = tmp_path_factory.mktemp("ka")
    torch.manual_seed(5)
    model = new_adapter(load_base(tiny_base, dtype=torch.float32, device="cpu"), LORA)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    save_adapter(model, out)
    return out
