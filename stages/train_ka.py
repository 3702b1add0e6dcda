"""train_ka: fine-tuning on the originals and their rewrites. `python -m stages.train_ka`"""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path

from knowtuning.config import load
from knowtuning.config.training import KAStage
from knowtuning.hardware import detect
from knowtuning.models import load_tokenizer
from knowtuning.records import Example, Rewrite, read_jsonl
from knowtuning.storage import write_json
from knowtuning.training.rows import Encoder, accept, cut_off
from knowtuning.training.sft import train_sft
from stages import CACHE, PARAMS, run

BASE, OUT = Path("models/base"), Path("models/ka")
CURVES, METRICS = Path("plots/train_ka"), Path("metrics/train_ka.json")
REJECTED = Path("data/training/train_ka.rejected.jsonl")


def main() -> None:
    params = load(PARAMS, KAStage)
    section = params.train_ka
    originals = read_jsonl(Path("data/prepared/train.jsonl"), Example)
    rewrites = read_jsonl(Path("data/knowledge/ka.jsonl"), Rewrite)
    records: list[Example | Rewrite] = [*originals, *rewrites]
    encoder = Encoder(load_tokenizer(BASE), params.model.template, params.model.max_length)
    rows = accept(
        [encoder.example(record) for record in records],
        REJECTED,
        limit=section.max_rejected,
        key="train_ka.max_rejected",
    )
    summary = train_sft(
        rows,
        BASE,
        OUT,
        CURVES,
        section="train_ka",
        params=section,
        lora=params.lora,
        hardware=detect(os.environ),
        cache=CACHE,
        seed=params.seed,
    )
    cut = cut_off(rows, encoder.tokenizer.eos_token_id)
    write_json(METRICS, {**asdict(summary), "cut_off_rows": cut})
    print(f"train_ka: {summary.steps} steps, best validation loss {summary.best_eval_loss:.4f}")


if __name__ == "__main__":
    run(main)
