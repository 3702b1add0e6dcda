"""train_kc: preference learning on top of the KA adapter. `python -m stages.train_kc`"""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path

from knowtuning.config.training import KCStage
from knowtuning.core.params import load
from knowtuning.core.records import Preference, read_jsonl
from knowtuning.core.storage import write_json
from knowtuning.runtime.machine import fingerprint, set_up, started
from knowtuning.runtime.models import load_tokenizer, weights_stamp
from knowtuning.runtime.resume import resumable
from knowtuning.training.engine.rows import Encoder, accept, cut_off
from knowtuning.training.kc import train_kc
from stages import CACHE, PARAMS, run

PAIRS = Path("data/knowledge/kc.jsonl")
BASE, KA, OUT = Path("models/base"), Path("models/ka"), Path("models/kc")
CURVES, METRICS = Path("plots/train_kc"), Path("metrics/train_kc.json")
REJECTED = Path("data/training/train_kc.rejected.jsonl")


def main() -> None:
    params = load(PARAMS, KCStage)
    section = params.train_kc
    pairs = read_jsonl(PAIRS, Preference)
    encoder = Encoder(load_tokenizer(BASE), params.model.template, params.model.max_length)
    rows = accept(
        [encoder.pair(pair) for pair in pairs],
        REJECTED,
        limit=section.max_rejected,
        key="train_kc.max_rejected",
    )
    hardware = set_up(os.environ)
    processes = started(os.environ, hardware.device)
    settings = [
        params.model_dump(),
        fingerprint(hardware),
        weights_stamp(BASE),
        processes.count,
        processes.split,
    ]
    with resumable(
        CACHE, "train_kc", settings=settings, inputs=[PAIRS, KA, BASE], processes=processes
    ) as state:
        summary, reference = train_kc(
            rows,
            BASE,
            KA,
            OUT,
            CURVES,
            params=section,
            hardware=hardware,
            state=state,
            seed=params.seed,
            processes=processes,
        )
        if not processes.first:
            return
        cut = cut_off(rows, encoder.tokenizer.eos_token_id)
        metrics = {**asdict(summary), "cut_off_rows": cut, "reference_adapter_sha256": reference}
        write_json(METRICS, metrics)
    print(f"train_kc: {summary.steps} steps, best validation loss {summary.best_eval_loss:.4f}")


if __name__ == "__main__":
    run(main)
