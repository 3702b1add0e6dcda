"""train_kc: preference learning on top of the KA adapter. `python -m stages.train_kc`"""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path

from knowtuning.config.training import KCStage
from knowtuning.core.params import load
from knowtuning.core.records import Preference, read_jsonl
from knowtuning.core.storage import write_json
from knowtuning.model.hardware import detect, started
from knowtuning.model.load import weights_stamp
from knowtuning.model.prompt import load_formatter
from knowtuning.model.resume import resumable
from knowtuning.model.rows import Encoder, accept
from stages import CACHE, PARAMS, run

PAIRS = Path("data/knowledge/kc.jsonl")
BASE, KA, OUT = Path("models/base"), Path("models/ka"), Path("models/kc")
CURVES, METRICS = Path("plots/train_kc"), Path("metrics/train_kc.json")
REJECTED = Path("data/training/train_kc.rejected.jsonl")


def main() -> None:
    from knowtuning.model.arguments import Run
    from knowtuning.model.trainer import train_kc

    params = load(PARAMS, KCStage)
    section = params.train_kc
    encoder = Encoder(load_formatter(BASE, params.model), params.model.max_length)
    rows = accept(
        [encoder.pair(pair) for pair in read_jsonl(PAIRS, Preference)],
        REJECTED,
        limit=section.max_rejected,
        key="train_kc.max_rejected",
    )
    hardware = detect(os.environ)
    processes = started(os.environ, hardware.device)
    settings = [params.model_dump(), hardware.fingerprint(), weights_stamp(BASE), processes.count]
    inputs = [PAIRS, KA, BASE]
    with resumable(CACHE, "train_kc", settings=settings, inputs=inputs, processes=processes) as state:
        how = Run("train_kc", hardware, state, params.seed, processes)
        summary, reference = train_kc(rows, BASE, KA, OUT, CURVES, params=section, run=how)
        if not processes.first:
            return
        cut_off = encoder.cut_off(rows)
        metrics = {**asdict(summary), "cut_off_rows": cut_off, "reference_adapter_sha256": reference}
        write_json(METRICS, metrics)
    print(f"train_kc: {summary.steps} steps, best validation loss {summary.best_eval_loss:.4f}")


if __name__ == "__main__":
    run(main)
