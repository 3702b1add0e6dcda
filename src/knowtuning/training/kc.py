"""Knowledge comparison: DPO that continues the KA adapter against a frozen reference (paper, 3.3)."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from knowtuning.batching import by_length
from knowtuning.config.training import KCParams
from knowtuning.core.storage import read_json, write_json
from knowtuning.likelihood import Likelihood
from knowtuning.packing import passes, split_trees
from knowtuning.runtime.machine import ALONE, Hardware, Processes, forward_tokens, weights_dtype
from knowtuning.training.engine.adapters import (
    adapted_likelihood,
    adapter_hash,
    save_adapter,
    trained_adapter,
)
from knowtuning.training.engine.loop import Summary, arguments, one_device, summarise
from knowtuning.training.engine.rows import PairRow, pair_tree, parts

if TYPE_CHECKING:
    import torch

Reference = Literal["ka", "base"]


@dataclass(frozen=True)
class ReferenceLogps:
    """Summed log-probabilities (nats) of the pairs under the frozen reference, and which one it was.

    adapter_sha256: hash of the adapter that was active; "none" for the raw base model.
    """

    chosen: list[float]
    rejected: list[float]
    adapter_sha256: str


def sequence_logps(logits: torch.Tensor, ids: torch.Tensor, completion: torch.Tensor) -> torch.Tensor:
    """Summed log-probability of each row's completion, nats, shape (batch,).

    logits (batch, seq, vocab); ids and completion (batch, seq), completion 1 where a token counts. Token t
    is predicted at position t-1.
    """
    import torch

    logps = torch.log_softmax(logits[:, :-1].float(), dim=-1)
    picked = logps.gather(-1, ids[:, 1:].unsqueeze(-1)).squeeze(-1)
    return (picked * completion[:, 1:]).sum(dim=1)


Sequences = Sequence[tuple[list[int], list[int]]]


def _tree_logps(
    likelihood: Likelihood, sequences: Sequences, budget: int, processes: Processes
) -> list[float]:
    """Summed log-probabilities of completions given their prompts, each prompt and each completion once.

    The chosen answer of a question stands in a pair of each aspect. The processes share the work.
    """
    wanted: dict[tuple[int, ...], dict[tuple[int, ...], None]] = {}
    for prompt, completion in sequences:
        wanted.setdefault(tuple(prompt), {})[tuple(completion)] = None
    trees = [tree for prompt, found in wanted.items() for tree in split_trees(prompt, list(found))]
    batches = list(passes(trees, budget))
    found: dict[str, list[list[float]]] = {}
    for first, *rest in processes.share(batches):
        found[str(first)] = likelihood.logps([trees[i] for i in (first, *rest)])
    found = processes.union(found)
    sums: dict[tuple[tuple[int, ...], tuple[int, ...]], float] = {}
    for batch in batches:
        for index, values in zip(batch, found[str(batch[0])], strict=True):
            for branch, value in zip(trees[index].branches, values, strict=True):
                sums[trees[index].prompt, branch] = value
    return [sums[tuple(prompt), tuple(completion)] for prompt, completion in sequences]


def _padded_logps(model: Any, sequences: Sequences, budget: int) -> list[float]:
    """The same, each completion with its own prompt, for models that cannot share it."""
    import torch

    found = [0.0] * len(sequences)
    lengths = [len(prompt) + len(completion) for prompt, completion in sequences]
    for indices in by_length(lengths, budget):
        rows = [sequences[i] for i in indices]
        width = max(len(prompt) + len(completion) for prompt, completion in rows)
        ids = torch.zeros((len(rows), width), dtype=torch.long)
        attention = torch.zeros_like(ids)
        counted = torch.zeros_like(ids)
        for number, (prompt, completion) in enumerate(rows):
            end = len(prompt) + len(completion)
            ids[number, :end] = torch.tensor(prompt + completion)
            attention[number, :end] = 1
            counted[number, len(prompt) : end] = 1
        ids, attention, counted = (tensor.to(model.device) for tensor in (ids, attention, counted))
        with torch.no_grad():
            logits = model(input_ids=ids, attention_mask=attention).logits
        for i, value in zip(indices, sequence_logps(logits, ids, counted).tolist(), strict=True):
            found[i] = value
    return found


def reference_logps(
    model: Any,
    likelihood: Likelihood,
    rows: Sequence[PairRow],
    reference: Reference,
    hardware: Hardware,
    processes: Processes = ALONE,
) -> ReferenceLogps:
    """Log-probabilities of all pairs under the reference, before any training step.

    model: with its adapter; likelihood: of that (`adapted_likelihood`). `ka`: the adapter as it stands.
    `base`: with the adapter switched off, as the released code's framework does (Deviation from the paper,
    kept for comparison).
    """
    import torch

    off = reference == "base"
    context: AbstractContextManager[Any] = model.disable_adapter() if off else nullcontext()
    bfloat16 = hardware.precision == "bfloat16"
    sequences = [(row.prompt_ids, row.chosen_ids) for row in rows]
    sequences += [(row.prompt_ids, row.rejected_ids) for row in rows]
    was_training = model.training
    model.eval()
    packing = all(likelihood.shares(pair_tree(row)) for row in rows)
    budget = hardware.batch_tokens or forward_tokens(hardware)
    with context, torch.autocast(torch.device(hardware.device).type, torch.bfloat16, enabled=bfloat16):
        if packing:
            found = _tree_logps(likelihood, sequences, budget, processes)
        else:
            found = _padded_logps(model, sequences, budget)
    model.train(was_training)
    return ReferenceLogps(found[: len(rows)], found[len(rows) :], "none" if off else adapter_hash(model))


def kept_logps(
    path: Path,
    model: Any,
    likelihood: Likelihood,
    rows: Sequence[PairRow],
    reference: Reference,
    hardware: Hardware,
    processes: Processes = ALONE,
) -> ReferenceLogps:
    """Like reference_logps, but taken from the file at `path`, which the first call writes."""
    there = path.exists()
    processes.wait()  # before anyone writes it
    if not there:
        found = reference_logps(model, likelihood, rows, reference, hardware, processes)
        if processes.first:
            write_json(path, asdict(found))
        processes.wait()
    return ReferenceLogps(**read_json(path))


def train_kc(
    rows: Sequence[PairRow],
    base: Path,
    ka: Path,
    out: Path,
    curves: Path,
    *,
    params: KCParams,
    hardware: Hardware,
    state: Path,
    seed: int,
    processes: Processes = ALONE,
) -> tuple[Summary, str]:
    """Continue the adapter `ka` on preference pairs; save the best checkpoint to `out`.

    Loss: DPO(beta) + gamma · NLL(chosen), the latter a mean over the chosen tokens of a micro-batch
    (Deviation: the released code's framework takes a mean of per-sequence means). Checkpoints and the
    reference's log-probabilities go to the folder `state`; those of a killed run are taken up. Returns the
    summary and the hash of the reference adapter ("none" for the base model).
    """
    import torch
    from transformers import PrinterCallback
    from trl.trainer.dpo_config import DPOConfig

    from knowtuning.attention import fit_attention
    from knowtuning.runtime.models import load_base, load_tokenizer
    from knowtuning.training.engine.callbacks import Curves, Progress, StopOnNaN
    from knowtuning.training.engine.checkpoints import train as train_from
    from knowtuning.training.engine.trainers import PairTrainer, packs, pair_dataset

    source = "data/knowledge/kc.jsonl and at the aspect switches of perturb"
    train, held_out = parts(rows, params.eval_rows, seed, section="train_kc", source=source)
    torch.manual_seed(seed)
    dtype = weights_dtype(hardware)
    plain = load_base(base, dtype=dtype, device=hardware.device, processes=processes)
    fit_attention(plain)
    model = trained_adapter(plain, ka)
    started_from = adapter_hash(model)
    likelihood = adapted_likelihood(model, hardware)
    logps = [
        kept_logps(
            state / f"reference-{name}.json", model, likelihood, part, params.reference, hardware, processes
        )
        for name, part in (("train", train), ("valid", held_out))
    ]
    tokens = sum(2 * len(row.prompt_ids) + len(row.chosen_ids) + len(row.rejected_ids) for row in train)
    packing = packs(likelihood, [pair_tree(row) for row in rows])
    config = DPOConfig(
        **arguments(
            params,
            hardware,
            state,
            section="train_kc",
            rows=len(train),
            seed=seed,
            packing=packing is not None,
            processes=processes,
        ),
        beta=params.beta,
        loss_type=["sigmoid", "sft"] if params.gamma else ["sigmoid"],
        loss_weights=[1.0, params.gamma] if params.gamma else [1.0],
        max_length=None,
    )
    trainer = PairTrainer(
        packing=packing,
        processes=processes,
        model=model,
        args=one_device(config),
        train_dataset=pair_dataset(train, logps[0].chosen, logps[0].rejected),
        eval_dataset=pair_dataset(held_out, logps[1].chosen, logps[1].rejected),
        processing_class=load_tokenizer(base),
        callbacks=[
            StopOnNaN("train_kc"),
            *([Progress("train_kc", tokens), Curves(curves)] if processes.first else []),
        ],
    )
    trainer.remove_callback(PrinterCallback)
    train_from(trainer, state, hardware.save_seconds, processes)
    # The policy moved, its frozen copy did not: the reference was the adapter we started from.
    assert adapter_hash(trainer.model, "ref") == started_from
    if processes.first:
        save_adapter(trainer.model, out)
    summary = summarise(trainer, train_tokens=tokens, adapter_sha256=adapter_hash(trainer.model))
    return summary, logps[0].adapter_sha256
