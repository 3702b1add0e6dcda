"""Memory from shapes: the counts are those that others have published."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.checkout import ROOT
from tests.support.forks import run_module


@pytest.fixture(scope="module")
def needs() -> dict[str, Any]:
    """The bytes of every model."""
    done = run_module(ROOT, "benchmarks.memory", "--json", "7B", "0.1B")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_7b_llama(needs: dict[str, Any]) -> None:
    row = needs["7B"]
    # Llama-2-7B has 6,738,415,616 parameters. A layer has 4 matrices of 4096 x 4096 and 3 of 4096 x 11008;
    # embeddings, head and norms stay in bfloat16 under nf4, which takes 4 + 8 / 64 + 32 / (64 x 256) bits a
    # weight.
    linear = 32 * (4 * 4096**2 + 3 * 4096 * 11008)
    assert row["bfloat16"] == 2 * 6_738_415_616
    assert row["nf4"] == pytest.approx(linear * 4.126953125 / 8 + 2 * (6_738_415_616 - linear), rel=1e-12)
    # Two matrices of rank 16 beside each linear layer; float32 with a gradient and two moments: 16 bytes.
    assert row["adapter"] == 16 * 32 * 16 * (4 * (4096 + 4096) + 3 * (4096 + 11008))
    # 80 bytes a token, layer and unit of hidden size; with checkpointing those of one layer at a time, and
    # the input of each layer in bfloat16.
    assert row["kept"] == 1024 * 32 * 80 * 4096
    assert row["recomputed"] == 1024 * (80 * 4096 + 32 * 2 * 4096)


def test_a_tied_head_is_counted_once_and_shared_heads_are_smaller(needs: dict[str, Any]) -> None:
    # SmolLM2-135M has 134,515,008 parameters; its keys and values are 3 of 9 heads of 64: 192 wide.
    row = needs["0.1B"]
    assert row["bfloat16"] == 2 * 134_515_008
    widths = 2 * (576 + 576) + 2 * (576 + 192) + 3 * (576 + 1536)
    assert row["adapter"] == 16 * 30 * 16 * widths
