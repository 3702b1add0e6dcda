"""train_sft, train_ka, train_kc and the other trained systems: an adapter. `python -m stages.train kc`

systems.py says what each is trained on, with which objective, and whose adapter it continues.
"""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

from knowtuning.config.training import train_stage
from knowtuning.core.params import load
from knowtuning.core.records import read_jsonl
from knowtuning.core.storage import write_json
from knowtuning.model.hardware import detect, detect_processes
from knowtuning.model.load import weights_stamp
from knowtuning.model.prompt import load_formatter
from knowtuning.model.resume import resumable
from knowtuning.systems import BASE, MODELS, REWRITES, adapter_of, trained
from knowtuning.training.rows import RowEncoder, accept, beside_rewrites
from stages import CACHE, PARAMS, named, run


def main() -> None:
    name = named(trained(), "system")
    system = trained()[name]
    params: Any = load(PARAMS, train_stage(name))
    section, stage = getattr(params, system.section), system.section
    counted = getattr(section, "counted", "all")
    records: list[Any] = [record for data in system.data for record in read_jsonl(data.path, data.record)]
    if REWRITES in system.data:
        records = beside_rewrites(records, section.originals, params.seed)
    encoder = RowEncoder(load_formatter(BASE, params.model), params.model.max_length, counted)
    rows = accept(
        [encoder.row(record) for record in records],
        Path(f"data/training/{stage}.rejected.jsonl"),
        limit=section.max_rejected,
        key=f"{stage}.max_rejected",
    )
    hardware = detect(os.environ)
    processes = detect_processes(os.environ, hardware.device)
    continued = adapter_of(system.continues) if system.continues else None
    settings = [params.model_dump(), hardware.fingerprint(), weights_stamp(BASE), processes.count]
    inputs = [*(data.path for data in system.data), *filter(None, [continued]), BASE]
    with resumable(CACHE, stage, settings=settings, inputs=inputs, processes=processes) as state:
        from knowtuning.training import trainer
        from knowtuning.training.arguments import TrainingRun

        training = TrainingRun(stage, hardware, state, params.seed, processes)
        curves, out, reference = Path("plots") / stage, MODELS / name, {}
        if continued is None:
            summary = trainer.train_sft(
                rows, BASE, out, curves, params=section, lora=params.lora, run=training
            )
        else:
            summary, sha256 = trainer.train_preference(
                rows, BASE, continued, out, curves, params=section, run=training
            )
            reference = {"reference_adapter_sha256": sha256}
        if not processes.first:
            return
        metrics = {**asdict(summary), "cut_off_rows": encoder.cut_off(rows), **reference}
        write_json(Path(f"metrics/{stage}.json"), metrics)
    print(f"{stage}: {summary.steps} steps, best validation loss {summary.best_eval_loss:.4f}")


if __name__ == "__main__":
    run(main)
