"""What train_sft and train_ka share: rows from records, supervised fine-tuning, its outputs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from knowtuning.config.training import LoraParams, Schedule
from knowtuning.core.params import ModelParams
from knowtuning.core.records import Example, Rewrite
from knowtuning.core.storage import write_json
from knowtuning.model.hardware import detect, started
from knowtuning.model.load import weights_stamp
from knowtuning.model.prompt import load_formatter
from knowtuning.model.resume import resumable
from knowtuning.model.rows import Encoder, accept
from stages import CACHE

BASE = Path("models/base")


def fine_tune(
    stage: str,
    records: Sequence[Example | Rewrite],
    out: Path,
    *,
    inputs: Sequence[Path],
    params: Schedule,
    model: ModelParams,
    lora: LoraParams,
    seed: int,
) -> None:
    """Train an adapter on `records` (read from `inputs`) into `out`; write metrics and rejected rows."""
    from knowtuning.model.arguments import Run
    from knowtuning.model.trainer import train_sft

    encoder = Encoder(load_formatter(BASE, model), model.max_length)
    rows = accept(
        [encoder.example(record) for record in records],
        Path(f"data/training/{stage}.rejected.jsonl"),
        limit=params.max_rejected,
        key=f"{stage}.max_rejected",
    )
    hardware = detect(os.environ)
    processes = started(os.environ, hardware.device)
    sections = [section.model_dump() for section in (params, model, lora)]
    settings = [sections, seed, hardware.fingerprint(), weights_stamp(BASE), processes.count]
    with resumable(CACHE, stage, settings=settings, inputs=[*inputs, BASE], processes=processes) as state:
        run = Run(stage, hardware, state, seed, processes)
        summary = train_sft(rows, BASE, out, Path("plots") / stage, params=params, lora=lora, run=run)
        if not processes.first:
            return
        metrics = {**asdict(summary), "cut_off_rows": encoder.cut_off(rows)}
        write_json(Path(f"metrics/{stage}.json"), metrics)
    print(f"{stage}: {summary.steps} steps, best validation loss {summary.best_eval_loss:.4f}")
