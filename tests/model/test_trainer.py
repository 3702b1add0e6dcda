"""SFT and KC on a tiny model: the losses are the equations, the reference is the one that was asked for."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from knowtuning.config.training import LoraParams, Schedule
from knowtuning.core.storage import read_json
from knowtuning.model.hardware import Hardware
from knowtuning.model.load import load_base
from knowtuning.training import trainer
from knowtuning.training.adapters import adapter_hash, new_adapter, save_adapter, saved_hash, trained_adapter
from knowtuning.training.arguments import order_of
from knowtuning.training.logps import completion_logps, completion_token_logps
from knowtuning.training.losses import LOSSES, dpo
from knowtuning.training.rows import PairRow, Row, split_rows
from knowtuning.training.trainer import PairTrainer, reference_logps
from tests.support.training import (
    LORA,
    curve,
    curve_by_step,
    kc,
    micro_batch,
    pairs,
    rows,
    runs,
    schedule,
    sft,
)


def halves(rows: list[Any]) -> tuple[list[Any], list[Any]]:
    """Those that train, and those held out."""
    return split_rows(rows, 2, 1, section="train", source="here")


def run_kc(base: Path, ka: Path, folder: Path, *, offset: float = 0.0, **changes: Any) -> tuple[Any, str]:
    chosen = [replace(row, offset=offset) for row in pairs(base)]
    return kc(base, ka, folder, chosen=chosen, **{"batch": 8, "epochs": 2.0, **changes})


def under_reference(model: Any, rows: list[PairRow], which: Any = "adapter") -> Any:
    """The log-probabilities under the reference of a model with its adapter: chosen and rejected."""
    chosen, rejected = zip(*reference_logps(model, rows, which, runs("train_kc", Path("no"))), strict=True)
    return SimpleNamespace(chosen=chosen, rejected=rejected)


def adapted(base: Path, folder: Path) -> Any:
    """The base model with the adapter of a folder."""
    return trained_adapter(load_base(base, dtype=torch.float32, device="cpu"), folder)


def test_reference_is_the_adapter_or_the_base_model(tiny_base: Path, ka: Path) -> None:
    plain = load_base(tiny_base, dtype=torch.float32, device="cpu")
    new = new_adapter(plain, LORA)  # an untrained adapter changes nothing
    as_base = under_reference(new, pairs(tiny_base))
    model = adapted(tiny_base, ka)
    off = under_reference(model, pairs(tiny_base), "base")
    on = under_reference(model, pairs(tiny_base))
    assert off.chosen == pytest.approx(as_base.chosen, abs=1e-4)
    assert max(abs(a - b) for a, b in zip(on.chosen, off.chosen, strict=True)) > 0.01


def test_sft_learns_and_writes_an_adapter_alone(tiny_base: Path, tmp_path: Path) -> None:
    out = tmp_path / "sft"
    summary = sft(tiny_base, tmp_path)
    assert summary.last_loss < summary.first_loss
    assert summary.train_rows + summary.eval_rows == 15
    assert sorted(p.name for p in out.iterdir()) == ["adapter_config.json", "adapter_model.safetensors"]
    assert (tmp_path / "plots/plots/metrics/loss.tsv").exists()
    # The last checkpoint, and the best one where that is another.
    kept = {f"checkpoint-{summary.steps}", f"checkpoint-{summary.best_step}"}
    assert {p.name for p in (tmp_path / "state").glob("checkpoint-*")} == kept
    kept = adapted(tiny_base, out)
    assert adapter_hash(kept) == summary.adapter_sha256


def test_first_kc_loss_is_ln2_plus_gamma_times_nll(tiny_base: Path, ka: Path, tmp_path: Path) -> None:
    # Policy = reference before the first step, so the DPO term is -log sigmoid(0) = ln 2.
    summary, reference = run_kc(tiny_base, ka, tmp_path / "0", gamma=0.0)
    assert summary.first_loss == pytest.approx(math.log(2), abs=1e-4)
    model = adapted(tiny_base, ka)
    assert reference == adapter_hash(model)
    files = ["adapter_config.json", "adapter_model.safetensors"]
    assert sorted(p.name for p in (tmp_path / "0/kc").iterdir()) == files
    # An offset of 0.5 is missing from each margin: -log sigmoid(-0.5) = ln(1 + e^0.5).
    summary, _ = run_kc(tiny_base, ka, tmp_path / "2", offset=0.5, gamma=0.0)
    assert summary.first_loss == pytest.approx(math.log1p(math.exp(0.5)), abs=1e-4)
    # With gamma = 0.2 the rest of the first loss is 0.2 x the mean over pairs of the NLL a token of chosen.
    summary, _ = run_kc(tiny_base, ka, tmp_path / "1", gamma=0.2, batch=4)
    assert (summary.train_rows, summary.eval_rows) == (4, 1)
    train, _ = halves(pairs(tiny_base))
    logps = under_reference(model, train).chosen
    nll = -sum(value / len(row.chosen) for value, row in zip(logps, train, strict=True)) / len(train)
    assert summary.first_loss == pytest.approx(math.log(2) + 0.2 * nll, abs=1e-4)


def test_less_than_an_epoch_needs_the_reference_of_its_rows_alone(
    tiny_base: Path, ka: Path, tmp_path: Path
) -> None:
    # Half an epoch of four pairs, two a step, is one step: two of the four are never read.
    summary, reference = run_kc(tiny_base, ka, tmp_path, epochs=0.5, batch=2, reference="base")
    assert (summary.steps, summary.train_rows, reference) == (1, 2, "none")
    assert summary.first_loss == pytest.approx(summary.last_loss)
    kept = [read_json(path) for path in tmp_path.glob("**/reference-*.json")]
    assert sorted(len(each) for each in kept) == [1, 2]


def test_another_loss_is_one_parameter(tiny_base: Path, ka: Path, tmp_path: Path) -> None:
    # Policy and reference agree at first: (0 - 1 / 2 beta)² = 25 at beta 0.1.
    summary, _ = run_kc(tiny_base, ka, tmp_path, gamma=0.0, loss="ipo")
    assert summary.first_loss == pytest.approx(25.0, abs=1e-3)
    assert summary.best_eval_loss < 25.0


def test_a_loss_of_all_pairs_at_once_is_refused(
    tiny_base: Path, ka: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(LOSSES, "total", lambda pairs, beta: dpo(pairs, beta).sum())
    with pytest.raises(ValueError, match=r"gives the shape \(\), expected a loss of each pair, \(\d+,\)"):
        run_kc(tiny_base, ka, tmp_path, loss="total")


def test_the_kept_kc_adapter_is_that_of_the_best_step(tiny_base: Path, ka: Path, tmp_path: Path) -> None:
    # A rate at which the held-out pair gets worse again: the last adapter is not the best one.
    steep = {"beta": 1.0, "lr": 0.1, "epochs": 5.0, "schedule": "constant", "eval_every": 0.1}
    summary, _ = run_kc(tiny_base, ka, tmp_path, gamma=0.0, **steep)
    losses = curve_by_step(tmp_path / "plots", "eval_loss")
    assert summary.best_step == min(losses, key=lambda step: losses[step]) < summary.steps
    assert losses[summary.steps] > summary.best_eval_loss + 0.01
    before, after = (
        under_reference(adapted(tiny_base, folder), halves(pairs(tiny_base))[1])
        for folder in (ka, tmp_path / "kc")
    )
    margin = (after.chosen[0] - before.chosen[0]) - (after.rejected[0] - before.rejected[0])
    # The DPO loss of the single held-out pair at beta = 1, from the files alone: -log sigmoid(margin).
    assert math.log1p(math.exp(-margin)) == pytest.approx(summary.best_eval_loss, abs=1e-4)
    assert saved_hash(tmp_path / "kc") == summary.adapter_sha256 != saved_hash(ka)


def completion_nll(model: Any, held: list[Row]) -> float:
    """Mean NLL over all completion tokens of the rows, one row at a time."""
    total, count = 0.0, 0
    for row in held:
        ids = torch.tensor([row.prompt + row.completion])
        with torch.no_grad():
            logps = torch.log_softmax(model(input_ids=ids).logits[0], dim=-1)
        for position, token in enumerate(row.completion, start=len(row.prompt)):
            total -= logps[position - 1, token].item()
            count += 1
    return total / count


def backwards(row: Row) -> Row:
    """The row with its completion from end to start."""
    return Row(row.id, row.source, row.prompt, row.completion[::-1])


def test_sft_counts_completions_alone_and_keeps_the_best_step(tiny_base: Path, tmp_path: Path) -> None:
    # What is held out reads backwards, so that it grows less likely with what is learnt.
    train, held = halves(rows(tiny_base))
    held = [backwards(row) for row in held]
    settings = {"batch": 64, "epochs": 12.0, "eval_every": 0.1, "schedule": "constant", "lr": 0.03}
    summary = sft(tiny_base, tmp_path, chosen=[*train, *held], **settings)
    base = load_base(tiny_base, dtype=torch.float32, device="cpu")
    # All rows fit in the batch, and an untrained adapter changes nothing: the first loss is the base's.
    assert summary.first_loss == pytest.approx(completion_nll(base, train), abs=1e-4)
    losses = curve_by_step(tmp_path / "plots", "eval_loss")
    assert summary.best_step == min(losses, key=lambda step: losses[step]) < summary.steps
    assert losses[summary.steps] > summary.best_eval_loss + 0.005
    kept = trained_adapter(base, tmp_path / "sft").eval()
    assert completion_nll(kept, held) == pytest.approx(summary.best_eval_loss, abs=1e-4)


@pytest.mark.parametrize(
    ("micro", "share", "steps"),
    [
        (None, 1.0, [6]),  # once, at the end; the Trainer would read 1 as every step
        (4, 0.5, [3, 6]),  # 8 rows below the batch of 64 stay one step an epoch, whatever the micro batch
    ],
)
def test_shares_of_steps_and_small_sets(
    tiny_base: Path, tmp_path: Path, micro: int | None, share: float, steps: list[int]
) -> None:
    chosen = [row for row in rows(tiny_base) if row.id[-1] in "01"]
    changes = {"chosen": chosen, "epochs": 6.0, "batch": 64, "eval_every": share}
    summary = sft(tiny_base, tmp_path, micro_batch(micro), **changes)
    assert summary.train_rows == 8
    assert list(curve_by_step(tmp_path / "plots", "eval_loss")) == steps
    assert summary.steps == 6


def test_equal_adapters_have_equal_files_in_every_process(tiny_base: Path, tmp_path: Path) -> None:
    model = new_adapter(load_base(tiny_base, dtype=torch.float32, device="cpu"), LORA)
    save_adapter(model, tmp_path)
    # PEFT keeps the targets in a set, whose order changes with PYTHONHASHSEED.
    targets = read_json(tmp_path / "adapter_config.json")["target_modules"]
    assert targets == sorted(targets)
    assert len(targets) > 2


def test_a_loss_that_is_no_number_names_the_setting(tiny_base: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"train_sft: (eval_)?loss is (nan|inf) at step \d+; .*\.lr"):
        sft(tiny_base, tmp_path, lr=1e30, max_grad_norm=1e30)
    assert not (tmp_path / "sft").exists()


def test_an_empty_set_and_an_unknown_target_are_errors(tiny_base: Path, ka: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"train_kc: 0 rows from 0 examples; expected those of at least 5"):
        kc(tiny_base, ka, tmp_path, chosen=[])
    base = load_base(tiny_base, dtype=torch.float32, device="cpu")
    with pytest.raises(ValueError, match=r"lora\.targets is \['nowhere'\]"):
        new_adapter(base, LoraParams(r=4, alpha=8, dropout=0.0, targets=["nowhere"]))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA GPU")
def test_sft_and_kc_run_on_a_gpu(tiny_base: Path, tmp_path: Path) -> None:
    gpu = Hardware(device="cuda", precision="bfloat16", micro_batch=2, batch_tokens=512)
    sft(tiny_base, tmp_path, gpu)
    summary, reference = kc(tiny_base, tmp_path / "sft", tmp_path / "kc", gpu, lr=1e-4, gamma=0.0)
    # bfloat16 carries 8 bits: policy and reference differ by rounding alone.
    assert summary.first_loss == pytest.approx(math.log(2), abs=0.02)
    assert reference != "none"


def test_a_step_has_as_many_rows_as_it_says_and_an_epoch_all_of_them(tiny_base: Path) -> None:
    chosen = rows(tiny_base)[:7]
    order = order_of(chosen, Schedule(**schedule(batch=3, epochs=2.0)), seed=1)
    # ceil(2 · 7 / 3) = 5 steps of 3 rows: the last row is of a third epoch.
    assert len(order) == 15
    sizes = [len(row.prompt) + len(row.completion) for row in chosen]
    for start in range(0, 15, 3):
        step = [sizes[index] for index in order[start : start + 3]]
        assert step == sorted(step, reverse=True)
    # The third step holds the last row of the first epoch and two of the second.
    assert set(order[:9]) == set(range(7))
    assert order_of(chosen, Schedule(**schedule(batch=64, epochs=2.0)), seed=1)[:7] == sorted(
        range(7), key=lambda index: (-sizes[index], index)
    )


def test_a_micro_batch_that_does_not_divide_the_step_is_named(tiny_base: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="KNOWTUNING_MICRO_BATCH is 3; expected a divisor of the 4 rows"):
        sft(tiny_base, tmp_path, micro_batch(3))


def test_logps_of_both_sides_and_their_lengths_are_logged_apart(
    tiny_base: Path, ka: Path, tmp_path: Path
) -> None:
    run_kc(tiny_base, ka, tmp_path, batch=4)
    train, _ = halves(pairs(tiny_base))
    model = adapted(tiny_base, ka)
    reference = under_reference(model, train)
    for side in ("chosen", "rejected"):
        # All rows are one step, and the policy is the reference.
        logps, tokens = (curve(tmp_path / "plots", f"{name}/{side}")[0] for name in ("logps", "tokens"))
        assert logps == pytest.approx(sum(getattr(reference, side)) / len(train), abs=1e-3)
        assert tokens == pytest.approx(sum(len(getattr(row, side)) for row in train) / len(train))


class Reads(TorchDispatchMode):
    """Counts how often a value is read from a tensor, for which the host waits for a device."""

    count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += func is torch.ops.aten._local_scalar_dense.default
        return func(*args, **(kwargs or {}))


def test_our_part_of_a_step_waits_for_no_device(
    tiny_base: Path, ka: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts: list[int] = []
    plain = PairTrainer.training_step

    def counted(self: Any, *args: Any, **rest: Any) -> Any:
        with Reads() as mode:
            loss = plain(self, *args, **rest)
        counts.append(mode.count)
        return loss

    monkeypatch.setattr(PairTrainer, "training_step", counted)
    run_kc(tiny_base, ka, tmp_path, batch=4, epochs=20.0, eval_every=1.0)
    # The one of each pass is transformers' look for packed sequences, at its beginning (masking_utils).
    assert counts == [1] * 20


def test_attention_is_given_no_mask(tiny_base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that torch's fastest kernel serves, right padding or not."""
    seen: list[tuple[bool, bool]] = []
    plain = torch.nn.functional.scaled_dot_product_attention

    def noted(*args: Any, attn_mask: Any = None, is_causal: bool = False, **rest: Any) -> Any:
        seen.append((attn_mask is None, is_causal))
        return plain(*args, attn_mask=attn_mask, is_causal=is_causal, **rest)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", noted)
    model = load_base(tiny_base, dtype=torch.float32, device="cpu")
    completion_logps(model, [([1, 2, 3], [4, 5]), ([6], [7])], 100)
    assert seen == [(True, True)] * 2  # layers


def test_what_does_not_count_changes_neither_reference_nor_margin(tiny_base: Path, ka: Path) -> None:
    model = adapted(tiny_base, ka)
    whole = pairs(tiny_base)[:3]
    # The last two tokens of each side weigh nothing: as if the completions ended before them.
    sides = ("chosen", "rejected")
    ones = [{f"{side}_weights": [1.0] * (len(getattr(row, side)) - 2) for side in sides} for row in whole]
    weighed = [
        replace(row, **{name: [*weights, 0.0, 0.0] for name, weights in each.items()})
        for row, each in zip(whole, ones, strict=True)
    ]
    shorter = [
        replace(row, **each, **{side: getattr(row, side)[:-2] for side in sides})
        for row, each in zip(whole, ones, strict=True)
    ]
    result, expected = under_reference(model, weighed), under_reference(model, shorter)
    assert result.chosen == pytest.approx(expected.chosen, abs=1e-4)
    assert result.rejected == pytest.approx(expected.rejected, abs=1e-4)


def test_the_reference_reads_a_text_once_whatever_of_it_counts(
    tiny_base: Path, ka: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = []

    def noted(model: Any, texts: list[Any], budget: int, title: str) -> Any:
        read.extend(texts)
        return completion_token_logps(model, texts, budget, title)

    monkeypatch.setattr(trainer, "completion_token_logps", noted)
    row = pairs(tiny_base)[0]
    half = replace(row, id="half", chosen_weights=[0.5] * len(row.chosen))
    whole, halved = under_reference(adapted(tiny_base, ka), [row, half]).chosen
    assert halved == pytest.approx(whole / 2)
    assert len(read) == 2  # chosen and rejected
