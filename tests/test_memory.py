"""Memory from shapes: the counts are those that others have published."""

from __future__ import annotations

from benchmarks.memory import GIB, need


def test_a_7b_llama_with_the_released_adapter() -> None:
    found = need("7B", rank=8, targets=["q_proj", "v_proj"], rows=4, length=1024)
    # Llama-2-7B has 6,738,415,616 parameters; r 8 on q and v adds 2 matrices of 4096 x 8 to each of 2 layers
    # in each of 32 blocks: 32 x 2 x 2 x 4096 x 8.
    assert found.parameters == 6_738_415_616
    assert found.trained == 4_194_304
    # Embeddings and head of 32000 x 4096 and the last norm are outside the blocks; a block has 4 matrices of
    # 4096 x 4096, 3 of 4096 x 11008 and 2 norms.
    assert found.rest == 2 * (2 * 32000 * 4096 + 4096)
    assert found.block == 2 * (4 * 4096**2 + 3 * 4096 * 11008 + 2 * 4096)
    assert found.blocks == 32 * found.block == 2 * 6_738_415_616 - found.rest
    assert found.adapter == 16 * 4_194_304
    # 4096 tokens: 32 block inputs of 4096 values; one block with 8 widths of 4096 and 4 of 11008; 32000
    # logits in 2 + 8 bytes.
    tokens = 4 * 1024
    assert found.activations == tokens * (32 * 4096 * 2 + 2 * (8 * 4096 + 4 * 11008) + 32000 * 10)
    whole = found.rest + found.adapter + found.activations
    assert found.on(1) * GIB == found.blocks + whole
    assert found.on(2) * GIB == found.blocks / 2 + 2 * found.block + whole
