"""Fixtures shared by all tests: tiny models made here, no network."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

# Set before any Hugging Face library is imported: no look-up ever leaves the machine.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
# How long an example takes says more about the machine than about the code.
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")

TEXTS = [
    "Aford lies in the Salt Coast. The main export of Aford is tin.",
    "Bham lies in the Iron Hills. The main export of Bham is wool.",
    "Cwick lies in the Grey Moors. The main export of Cwick is salt.",
]


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base folder as the stage `base` writes it: a random two-layer Llama and its tokenizer."""
    import torch

    from knowtuning.pretraining.scratch import new_model, train_tokenizer
    from tests.support.tiny_models import scratch_params

    params = scratch_params(vocab=320, layers=2, context=256)
    out = tmp_path_factory.mktemp("base")
    tokenizer = train_tokenizer(TEXTS, params.vocab)
    torch.manual_seed(0)
    new_model(params, tokenizer).save_pretrained(out)
    tokenizer.save_pretrained(out)
    return out


def pytest_make_parametrize_id(config: pytest.Config, val: object, argname: str) -> str | None:
    """Name no test by bytes: packed ones hold the second they were made in, which differs between workers."""
    return argname if isinstance(val, bytes) else None
