"""SFT and KC on a tiny model: the losses are the equations, the reference is the one that was asked for."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from knowtuning.config.training import KCParams, LoraParams, Schedule
from knowtuning.core.records import Example, Preference
from knowtuning.core.storage import read_json
from knowtuning.runtime.machine import Hardware
from knowtuning.runtime.models import load_base, load_tokenizer
from knowtuning.training.engine.adapters import (
    adapted_likelihood,
    adapter_hash,
    new_adapter,
    save_adapter,
    trained_adapter,
)
from knowtuning.training.engine.rows import Encoder, PairRow, Row, split_rows
from knowtuning.training.kc import Reference, ReferenceLogps, reference_logps, sequence_logps, train_kc
from knowtuning.training.sft import train_sft

CPU = Hardware(device="cpu", precision="float32", micro_batch=None, batch_tokens=512)
LORA = LoraParams(r=4, alpha=8, dropout=0.0, targets="all-linear")
TOWNS = [("Aford", "tin"), ("Bham", "wool"), ("Cwick", "salt"), ("Dmere", "flax"), ("Eton", "cork")]


def schedule(**changes: Any) -> dict[str, Any]:
    return {
        "lr": 0.01,
        "epochs": 4.0,
        "batch": 4,
        "schedule": "cosine",
        "warmup": 0.0,
        "weight_decay": 0.0,
        "max_grad_norm": 1.0,
        "eval_rows": 2,
        "eval_every": 0.25,
        "max_rejected": 0.0,
        **changes,
    }


def rows(base: Path) -> list[Row]:
    encoder = Encoder(load_tokenizer(base), "plain", 128)
    found = [
        encoder.example(Example(id=f"{t}{n}", question=f"Q{n} {t}?", answer=f"The export of {t} is {v}."))
        for n in range(3)
        for t, v in TOWNS
    ]
    return [row for row in found if isinstance(row, Row)]


def pairs(base: Path) -> list[PairRow]:
    encoder = Encoder(load_tokenizer(base), "plain", 128)
    found = [
        encoder.pair(
            Preference(
                id=t,
                source=t,
                aspect="factuality",
                question=f"{t}?",
                chosen=f"{t} is {v}.",
                rejected=f"{t} is mud.",
            )
        )
        for t, v in TOWNS
    ]
    return [pair for pair in found if isinstance(pair, PairRow)]


def run_kc(base: Path, ka: Path, tmp_path: Path, **changes: Any) -> tuple[Any, str, Path]:
    out = tmp_path / "kc"
    params = KCParams(
        **{**schedule(batch=8, epochs=2.0), "beta": 0.1, "gamma": 0.2, "reference": "ka", **changes}
    )
    summary, reference = train_kc(
        pairs(base), base, ka, out, tmp_path / "plots", params=params, hardware=CPU, state=tmp_path, seed=1
    )
    return summary, reference, out


def test_sequence_logps_are_the_sum_over_the_completion() -> None:
    # Vocabulary of 2; at each position token 1 has probability 1/4, token 0 has 3/4.
    logits = torch.tensor([0.75, 0.25]).log().expand(2, 4, 2)
    ids = torch.tensor([[0, 0, 1, 0], [0, 1, 1, 0]])
    completion = torch.tensor([[0, 0, 1, 1], [0, 1, 0, 0]])
    # Row 1: log 1/4 + log 3/4. Row 2: log 1/4, the rest is not counted.
    expected = torch.tensor([math.log(0.25) + math.log(0.75), math.log(0.25)])
    torch.testing.assert_close(sequence_logps(logits, ids, completion), expected)


def under_reference(
    model: Any, rows: list[PairRow], which: Reference, hardware: Hardware = CPU
) -> ReferenceLogps:
    """The log-probabilities under the reference of a model with its adapter."""
    return reference_logps(model, adapted_likelihood(model, hardware), rows, which, hardware)


@pytest.mark.parametrize("batch_tokens", [1, 60, 10_000])
def test_reference_logps_ignore_batches_and_padding(tiny_base: Path, ka: Path, batch_tokens: int) -> None:
    model = trained_adapter(load_base(tiny_base, dtype=torch.float32, device="cpu"), ka)
    hardware = Hardware(device="cpu", precision="float32", micro_batch=None, batch_tokens=batch_tokens)
    found = under_reference(model, pairs(tiny_base), "ka", hardware)
    for row, chosen in zip(pairs(tiny_base), found.chosen, strict=True):
        ids = torch.tensor([row.prompt_ids + row.chosen_ids])
        with torch.no_grad():
            logps = torch.log_softmax(model(input_ids=ids).logits[0], dim=-1)
        # One by one, token by token: an implementation with nothing in common but the model.
        start = len(row.prompt_ids)
        alone = sum(logps[start - 1 + i, token].item() for i, token in enumerate(row.chosen_ids))
        assert chosen == pytest.approx(alone, abs=1e-4)


def test_reference_is_the_adapter_or_the_base_model(tiny_base: Path, ka: Path) -> None:
    plain = load_base(tiny_base, dtype=torch.float32, device="cpu")
    new = new_adapter(plain, LORA)  # an untrained adapter changes nothing
    as_base = under_reference(new, pairs(tiny_base), "ka")
    model = trained_adapter(load_base(tiny_base, dtype=torch.float32, device="cpu"), ka)
    off = under_reference(model, pairs(tiny_base), "base")
    on = under_reference(model, pairs(tiny_base), "ka")
    assert off.chosen == pytest.approx(as_base.chosen, abs=1e-4)
    assert off.adapter_sha256 == "none"
    assert on.adapter_sha256 == adapter_hash(model)
    assert max(abs(a - b) for a, b in zip(on.chosen, off.chosen, strict=True)) > 0.01


def test_sft_learns_and_writes_an_adapter_alone(tiny_base: Path, tmp_path: Path) -> None:
    out = tmp_path / "sft"
    summary = train_sft(
        rows(tiny_base),
        tiny_base,
        out,
        tmp_path / "plots",
        section="train_sft",
        params=Schedule(**schedule()),
        lora=LORA,
        hardware=CPU,
        state=tmp_path / "state",
        seed=1,
    )
    assert summary.last_loss < summary.first_loss
    assert summary.train_rows + summary.eval_rows == 15
    assert sorted(p.name for p in out.iterdir()) == ["adapter_config.json", "adapter_model.safetensors"]
    assert (tmp_path / "plots/plots/metrics/loss.tsv").exists()
    # The last checkpoint, and the best one where that is another.
    kept = {f"checkpoint-{summary.steps}", f"checkpoint-{summary.best_step}"}
    assert {p.name for p in (tmp_path / "state").glob("checkpoint-*")} == kept
    kept = trained_adapter(load_base(tiny_base, dtype=torch.float32, device="cpu"), out)
    assert adapter_hash(kept) == summary.adapter_sha256


def test_equal_seeds_give_equal_adapters_whatever_the_micro_batch(tiny_base: Path, tmp_path: Path) -> None:
    adapters = []
    for name, micro in (("a", None), ("b", None), ("c", 1)):
        summary = train_sft(
            rows(tiny_base),
            tiny_base,
            tmp_path / name,
            tmp_path / f"plots-{name}",
            section="train_sft",
            params=Schedule(**schedule(epochs=1.0)),
            lora=LORA,
            hardware=Hardware(device="cpu", precision="float32", micro_batch=micro, batch_tokens=512),
            state=tmp_path / f"state-{name}",
            seed=1,
        )
        adapters.append(summary)
    assert adapters[0] == adapters[1]
    assert (tmp_path / "a/adapter_model.safetensors").read_bytes() == (
        tmp_path / "b/adapter_model.safetensors"
    ).read_bytes()
    # 4 rows at once = 1 row accumulated 4 times, up to float addition.
    assert adapters[2].last_loss == pytest.approx(adapters[0].last_loss, abs=1e-4)


def test_first_kc_loss_is_ln2_plus_gamma_times_nll(tiny_base: Path, ka: Path, tmp_path: Path) -> None:
    # Policy = reference before the first step, so the DPO term is -log sigmoid(0) = ln 2.
    summary, reference, out = run_kc(tiny_base, ka, tmp_path / "0", gamma=0.0)
    assert summary.first_loss == pytest.approx(math.log(2), abs=1e-4)
    model = trained_adapter(load_base(tiny_base, dtype=torch.float32, device="cpu"), ka)
    assert reference == adapter_hash(model)
    assert sorted(p.name for p in out.iterdir()) == ["adapter_config.json", "adapter_model.safetensors"]
    # With gamma = 0.2 the rest of the first loss is 0.2 x the token-mean NLL of the chosen answers.
    summary, _, _ = run_kc(tiny_base, ka, tmp_path / "1", gamma=0.2, batch=4)
    assert summary.train_rows == 4
    assert summary.eval_rows == 1
    found = {
        row.id: (logps, len(row.chosen_ids))
        for row, logps in zip(
            pairs(tiny_base), under_reference(model, pairs(tiny_base), "ka").chosen, strict=True
        )
    }
    train, _ = split_rows(pairs(tiny_base), 2, 1)
    nll = -sum(found[row.id][0] for row in train) / sum(found[row.id][1] for row in train)
    assert summary.first_loss == pytest.approx(math.log(2) + 0.2 * nll, abs=1e-3)


def eval_losses(curves: Path) -> dict[int, float]:
    """The validation loss at each step that has one, from the curve's file."""
    lines = (curves / "plots/metrics/eval_loss.tsv").read_text().splitlines()[1:]
    return {int(step): float(loss) for step, loss in (line.split("\t")[-2:] for line in lines)}


def test_the_kept_kc_adapter_is_that_of_the_best_step(tiny_base: Path, ka: Path, tmp_path: Path) -> None:
    # A rate at which the held-out pair gets worse again: the last adapter is not the best one.
    steep = {"beta": 1.0, "lr": 0.1, "epochs": 5.0, "schedule": "constant", "eval_every": 0.1}
    summary, _, out = run_kc(tiny_base, ka, tmp_path, gamma=0.0, **steep)
    losses = eval_losses(tmp_path / "plots")
    assert summary.best_step == min(losses, key=lambda step: losses[step]) < summary.steps
    assert losses[summary.steps] > summary.best_eval_loss + 0.01
    before, after = (
        under_reference(
            trained_adapter(load_base(tiny_base, dtype=torch.float32, device="cpu"), folder),
            split_rows(pairs(tiny_base), 2, 1)[1],
            "ka",
        )
        for folder in (ka, out)
    )
    margin = (after.chosen[0] - before.chosen[0]) - (after.rejected[0] - before.rejected[0])
    # The DPO loss of the single held-out pair at beta = 1, from the files alone: -log sigmoid(margin).
    assert math.log1p(math.exp(-margin)) == pytest.approx(summary.best_eval_loss, abs=1e-4)
    assert after.adapter_sha256 == summary.adapter_sha256 != before.adapter_sha256


def completion_nll(model: Any, held: list[Row]) -> float:
    """Mean NLL over all completion tokens of the rows, one row at a time."""
    total, count = 0.0, 0
    for row in held:
        with torch.no_grad():
            logps = torch.log_softmax(model(input_ids=torch.tensor([row.input_ids])).logits[0], dim=-1)
        for position, label in enumerate(row.labels):
            if label >= 0:
                total -= logps[position - 1, label].item()
                count += 1
    return total / count


def backwards(row: Row) -> Row:
    """The row with its completion from end to start."""
    prompt = len(row.labels) - sum(label >= 0 for label in row.labels)
    ids = row.input_ids[:prompt] + row.input_ids[prompt:][::-1]
    return Row(row.id, row.source, ids, row.labels[:prompt] + ids[prompt:])


def test_sft_counts_completions_alone_and_keeps_the_best_step(tiny_base: Path, tmp_path: Path) -> None:
    # What is held out reads backwards, so that it grows less likely with what is learnt.
    train, held = split_rows(rows(tiny_base), 2, 1)
    held = [backwards(row) for row in held]
    summary = train_sft(
        [*train, *held],
        tiny_base,
        tmp_path / "sft",
        tmp_path / "plots",
        section="train_sft",
        params=Schedule(**schedule(batch=64, epochs=12.0, eval_every=0.1, schedule="constant", lr=0.03)),
        lora=LORA,
        hardware=CPU,
        state=tmp_path,
        seed=1,
    )
    base = load_base(tiny_base, dtype=torch.float32, device="cpu")
    # All rows fit in the batch, and an untrained adapter changes nothing: the first loss is the base's.
    assert summary.first_loss == pytest.approx(completion_nll(base, train), abs=1e-4)
    losses = eval_losses(tmp_path / "plots")
    assert summary.best_step == min(losses, key=lambda step: losses[step]) < summary.steps
    assert losses[summary.steps] > summary.best_eval_loss + 0.005
    kept = trained_adapter(base, tmp_path / "sft").eval()
    assert completion_nll(kept, held) == pytest.approx(summary.best_eval_loss, abs=1e-4)


@pytest.mark.parametrize(
    ("micro", "share", "steps"),
    [
        (None, 1.0, [6]),  # once, at the end; the Trainer would read 1 as every step
        (3, 0.5, [3, 6]),  # 8 rows below the batch of 64 stay one step an epoch, whatever the micro batch
    ],
)
def test_shares_of_steps_and_small_sets(
    tiny_base: Path, tmp_path: Path, micro: int | None, share: float, steps: list[int]
) -> None:
    chosen = [row for row in rows(tiny_base) if row.id[-1] in "01"]
    summary = train_sft(
        chosen,
        tiny_base,
        tmp_path / "sft",
        tmp_path / "plots",
        section="train_sft",
        params=Schedule(**schedule(epochs=6.0, batch=64, eval_every=share)),
        lora=LORA,
        hardware=Hardware(device="cpu", precision="float32", micro_batch=micro, batch_tokens=512),
        state=tmp_path,
        seed=1,
    )
    assert summary.train_rows == 8
    assert list(eval_losses(tmp_path / "plots")) == steps
    assert summary.steps == 6


def test_equal_adapters_have_equal_files_in_every_process(tiny_base: Path, tmp_path: Path) -> None:
    model = new_adapter(load_base(tiny_base, dtype=torch.float32, device="cpu"), LORA)
    save_adapter(model, tmp_path)
    # PEFT keeps the targets in a set, whose order changes with PYTHONHASHSEED.
    targets = read_json(tmp_path / "adapter_config.json")["target_modules"]
    assert targets == sorted(targets)
    assert len(targets) > 2


def test_swapping_chosen_and_rejected_negates_the_margin(tiny_base: Path, ka: Path) -> None:
    model = trained_adapter(load_base(tiny_base, dtype=torch.float32, device="cpu"), ka)
    straight = under_reference(model, pairs(tiny_base), "ka")
    swapped = under_reference(
        model,
        [PairRow(p.id, p.source, p.prompt_ids, p.rejected_ids, p.chosen_ids) for p in pairs(tiny_base)],
        "ka",
    )
    for a, b, c, d in zip(straight.chosen, straight.rejected, swapped.chosen, swapped.rejected, strict=True):
        assert a - b == pytest.approx(-(c - d), abs=1e-4)


def test_a_loss_that_is_no_number_names_the_setting(tiny_base: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"train_sft: (eval_)?loss is (nan|inf) at step \d+; .*\.lr"):
        train_sft(
            rows(tiny_base),
            tiny_base,
            tmp_path / "sft",
            tmp_path / "plots",
            section="train_sft",
            params=Schedule(**schedule(lr=1e30, max_grad_norm=1e30)),
            lora=LORA,
            hardware=CPU,
            state=tmp_path,
            seed=1,
        )
    assert not (tmp_path / "sft").exists()


def test_an_empty_set_and_an_unknown_target_are_errors(tiny_base: Path, ka: Path, tmp_path: Path) -> None:
    params = KCParams(**schedule(), beta=0.1, gamma=0.2, reference="ka")
    with pytest.raises(ValueError, match=r"train_kc: 0 rows from 0 examples; expected those of at least 5"):
        train_kc([], tiny_base, ka, tmp_path, tmp_path, params=params, hardware=CPU, state=tmp_path, seed=1)
    base = load_base(tiny_base, dtype=torch.float32, device="cpu")
    with pytest.raises(ValueError, match=r"lora\.targets is \['nowhere'\]"):
        new_adapter(base, LoraParams(r=4, alpha=8, dropout=0.0, targets=["nowhere"]))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA GPU")
def test_sft_and_kc_run_on_a_gpu(tiny_base: Path, tmp_path: Path) -> None:
    gpu = Hardware(device="cuda", precision="bfloat16", micro_batch=2, batch_tokens=512)
    train_sft(
        rows(tiny_base),
        tiny_base,
        tmp_path / "ka",
        tmp_path / "plots",
        section="train_ka",
        params=Schedule(**schedule()),
        lora=LORA,
        hardware=gpu,
        state=tmp_path,
        seed=1,
    )
    summary, reference = train_kc(
        pairs(tiny_base),
        tiny_base,
        tmp_path / "ka",
        tmp_path / "kc",
        tmp_path / "plots-kc",
        params=KCParams(**schedule(lr=1e-4), beta=0.1, gamma=0.0, reference="ka"),
        hardware=gpu,
        state=tmp_path / "state-kc",
        seed=1,
    )
    # bfloat16 carries 8 bits: policy and reference differ by rounding alone.
    assert summary.first_loss == pytest.approx(math.log(2), abs=0.02)
    assert reference != "none"
