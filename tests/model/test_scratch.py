"""A base model from scratch: packing, schedule, determinism, and pins of models that stay elsewhere."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from knowtuning.config.base import Hub
from knowtuning.core.storage import digest_folder
from knowtuning.model.load import load_base, load_tokenizer, quantized, source_of, weights_stamp
from knowtuning.model.published import pin_model
from knowtuning.pretraining import scratch
from knowtuning.pretraining.scratch import build_base, pack, rate, train_tokenizer
from tests.support.tiny_models import TEXTS, scratch_params
from tests.support.training import CPU


def build(out: Path, **changes: Any) -> Any:
    return build_base(TEXTS, ["Where?"], scratch_params(**changes), out, seed=3, hardware=CPU)


def test_the_tokenizer_encodes_any_text() -> None:
    tokenizer = train_tokenizer(TEXTS, 300)
    for text in ("The export of town 7 is tin.", "Ünïcode 東京 🙂\n\ttabs"):
        assert tokenizer.decode(tokenizer(text, add_special_tokens=False)["input_ids"]) == text
    assert len(tokenizer) <= 300


def test_packed_rows_are_the_stream_of_marked_texts() -> None:
    tokenizer = train_tokenizer(TEXTS, 300)
    rows = pack(tokenizer, TEXTS[:3], 8)
    stream = [
        token
        for text in TEXTS[:3]
        for token in (0, *tokenizer(text, add_special_tokens=False)["input_ids"], 1)
    ]
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id) == (0, 1)
    assert rows.flatten().tolist() == stream[: len(stream) // 8 * 8]
    with pytest.raises(ValueError, match=r"expected at least base\.scratch\.sequence = 4000"):
        pack(tokenizer, TEXTS[:3], 4000)


def test_the_rate_rises_stays_and_falls() -> None:
    # 20 steps up; then 0.02 + 1.96 (1 - step/steps), capped at 1: flat to the middle, 0.02 at the end.
    assert [rate(0, 100), rate(19, 100), rate(40, 100)] == [0.05, 1.0, 1.0]
    assert rate(75, 100) == pytest.approx(0.02 + 1.96 * 0.25)
    assert rate(100, 100) == pytest.approx(0.02)


def test_training_learns_and_equal_seeds_give_equal_bytes(tmp_path: Path) -> None:
    first = build(tmp_path / "a", epochs=12.0)
    assert first.loss < 2.0  # ln 300 = 5.7 at the start; the texts differ in a number alone
    assert build(tmp_path / "b", epochs=12.0) == first
    assert digest_folder(tmp_path / "a") == digest_folder(tmp_path / "b")
    assert (tmp_path / "a/model.safetensors").exists()
    model = load_base(tmp_path / "a", dtype=torch.float32, device="cpu")
    assert sum(p.numel() for p in model.parameters()) == first.parameters
    assert load_tokenizer(tmp_path / "a").eos_token == "</s>"


@pytest.mark.parametrize("size", [8, 7])
def test_a_step_in_passes_is_a_step(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    tokenizer = train_tokenizer(TEXTS, 300)
    rows = pack(tokenizer, TEXTS, 16)[:size]
    results = []
    for tokens in (16 * 8, 16 * 2):  # all rows of a step, two rows
        monkeypatch.setattr(scratch, "CPU_TOKENS", tokens)
        torch.manual_seed(0)
        model = scratch.new_model(scratch_params(), tokenizer)
        training = scratch.ScratchTraining(model, [torch.optim.SGD(model.parameters(), lr=1.0)], CPU)
        loss = training.step(rows, 1.0)
        results.append((loss, torch.cat([p.detach().flatten() for p in model.parameters()])))
    # The mean over the rows of all passes; float32 sums in another order.
    assert results[0][0] == pytest.approx(results[1][0], abs=1e-5)
    torch.testing.assert_close(results[0][1], results[1][1], rtol=0, atol=1e-5)


def test_steps_have_a_limit_and_a_floor(tmp_path: Path) -> None:
    assert build(tmp_path / "a", epochs=30.0, max_steps=21).steps == 21
    assert build(tmp_path / "b", epochs=0.01).steps == 20


def test_a_size_that_heads_do_not_divide_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"base\.scratch\.hidden is 33; expected a multiple of"):
        build(tmp_path, hidden=33)


def test_a_local_model_is_pinned_by_its_path_and_loads(tiny_base: Path, tmp_path: Path) -> None:
    out = tmp_path / "base"
    assert pin_model(Hub(id=str(tiny_base), revision=None), out) == {"id": str(tiny_base), "commit": "local"}
    assert source_of(out) == (str(tiny_base), {})
    one = load_base(out, dtype=torch.float32, device="cpu")
    other = load_base(tiny_base, dtype=torch.float32, device="cpu")
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))
    assert [p.name for p in out.iterdir()] == ["pin.json"]
    assert not quantized(out)
    pin_model(Hub(id=str(tiny_base), revision=None), out, "nf4")
    assert quantized(out)


def test_the_weights_that_a_pin_stands_for_are_told_apart_by_their_files(
    tiny_base: Path, tmp_path: Path
) -> None:
    """A killed stage goes on with those of its beginning alone; hub and own models are compared elsewhere."""
    folder, out = tmp_path / "model", tmp_path / "base"
    shutil.copytree(tiny_base, folder)
    pin_model(Hub(id=str(folder), revision=None), out)
    before = weights_stamp(out)
    assert len(before) == len(list(folder.iterdir()))
    (folder / "model.safetensors").touch()
    assert weights_stamp(out) != before
    assert weights_stamp(tiny_base) == []


def test_a_model_without_safetensors_is_refused(tiny_base: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    for path in tiny_base.glob("*.json"):
        shutil.copy2(path, folder)
    (folder / "pytorch_model.bin").write_bytes(b"pickled")
    with pytest.raises(
        ValueError, match=r"base\.hub\.id '.*' has no \.safetensors file; expected safetensors"
    ):
        pin_model(Hub(id=str(folder), revision=None), tmp_path / "base")
    # Weights in several files are as good as one.
    load_base(tiny_base, dtype=torch.float32, device="cpu").save_pretrained(folder, max_shard_size="30KB")
    assert len(list(folder.glob("model-*.safetensors"))) > 1
    pin_model(Hub(id=str(folder), revision=None), tmp_path / "base")
    load_base(tmp_path / "base", dtype=torch.float32, device="cpu")


def test_a_model_from_scratch_replaces_the_pin_of_another(tiny_base: Path, tmp_path: Path) -> None:
    pin_model(Hub(id=str(tiny_base), revision=None), tmp_path)
    build(tmp_path)
    assert source_of(tmp_path) == (str(tmp_path), {})


def test_a_hub_model_without_id_or_network_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"base\.hub\.id is null but base\.source is 'hub'"):
        pin_model(Hub(id=None, revision=None), tmp_path)
    with pytest.raises(ValueError, match=r"base\.hub\.id 'nobody/nothing'"):
        pin_model(Hub(id="nobody/nothing", revision=None), tmp_path)
