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
from knowtuning.runtime.machine import fingerprint, set_up, started
from knowtuning.runtime.models import load_tokenizer, weights_stamp
from knowtuning.runtime.resume import resumable
from knowtuning.training.engine.rows import Encoder, accept, cut_off
from knowtuning.training.sft import train_sft
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
    encoder = Encoder(load_tokenizer(BASE), model.template, model.max_length)
    rows = accept(
        [encoder.example(record) for record in records],
        Path(f"data/training/{stage}.rejected.jsonl"),
        limit=params.max_rejected,
        key=f"{stage}.max_rejected",
    )
    hardware = set_up(os.environ)
    processes = started(os.environ, hardware.device)
    sections = [section.model_dump() for section in (params, model, lora)]
    shares = [processes.count, processes.split]
    settings = [sections, seed, fingerprint(hardware), weights_stamp(BASE), shares]
    with resumable(CACHE, stage, settings=settings, inputs=[*inputs, BASE], processes=processes) as state:
        summary = train_sft(
            rows,
            BASE,
            out,
            Path("plots") / stage,
            section=stage,
            params=params,
            lora=lora,
            hardware=hardware,
            state=state,
            seed=seed,
            processes=processes,
        )
        if not processes.first:
            return
        cut = cut_off(rows, encoder.tokenizer.eos_token_id)
        write_json(Path(f"metrics/{stage}.json"), {**asdict(summary), "cut_off_rows": cut})
    print(f"{stage}: {summary.steps} steps, best validation loss {summary.best_eval_loss:.4f}")
