"""Supervised fine-tuning of a LoRA adapter: train_sft on the originals, train_ka with the rewrites too."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from knowtuning.config.training import LoraParams, Schedule
from knowtuning.runtime.machine import ALONE, Hardware, Processes, weights_dtype
from knowtuning.training.engine.adapters import adapted_likelihood, adapter_hash, new_adapter, save_adapter
from knowtuning.training.engine.loop import Summary, arguments, one_device, summarise
from knowtuning.training.engine.rows import Row, parts, row_tree


def train_sft(
    rows: Sequence[Row],
    base: Path,
    out: Path,
    curves: Path,
    *,
    section: str,
    params: Schedule,
    lora: LoraParams,
    hardware: Hardware,
    state: Path,
    seed: int,
    processes: Processes = ALONE,
) -> Summary:
    """Train a new adapter on `rows` and save the best checkpoint to `out`.

    The loss is the mean NLL of completion tokens (paper, 3.2). `section` names the params section in
    messages. Checkpoints go to the folder `state`; those of a killed run are taken up. Of several processes
    the first writes. Raises ValueError when there are too few rows or the loss is no number.
    """
    import torch
    from transformers import PrinterCallback
    from trl.trainer.sft_config import SFTConfig

    from knowtuning.attention import fit_attention
    from knowtuning.runtime.models import load_base, load_tokenizer
    from knowtuning.training.engine.callbacks import Curves, Progress, StopOnNaN
    from knowtuning.training.engine.checkpoints import train as train_from
    from knowtuning.training.engine.trainers import RowTrainer, packs, row_dataset

    train, held_out = parts(rows, params.eval_rows, seed, section=section, source="data/prepared")
    torch.manual_seed(seed)
    dtype = weights_dtype(hardware)
    plain = load_base(base, dtype=dtype, device=hardware.device, processes=processes)
    fit_attention(plain)
    model = new_adapter(plain, lora)
    tokens = sum(len(row.input_ids) for row in train)
    packing = packs(adapted_likelihood(model, hardware), [row_tree(row) for row in rows])
    config = SFTConfig(
        **arguments(
            params,
            hardware,
            state,
            section=section,
            rows=len(train),
            seed=seed,
            packing=packing is not None,
            processes=processes,
        ),
        dataset_kwargs={"skip_prepare_dataset": True},
        max_length=None,
    )
    trainer = RowTrainer(
        packing=packing,
        processes=processes,
        model=model,
        args=one_device(config),
        train_dataset=row_dataset(train),
        eval_dataset=row_dataset(held_out),
        processing_class=load_tokenizer(base),
        callbacks=[
            StopOnNaN(section),
            *([Progress(section, tokens), Curves(curves)] if processes.first else []),
        ],
    )
    trainer.remove_callback(PrinterCallback)
    train_from(trainer, state, hardware.save_seconds, processes)
    if processes.first:
        save_adapter(trainer.model, out)
    return summarise(trainer, train_tokens=tokens, adapter_sha256=adapter_hash(trainer.model))
