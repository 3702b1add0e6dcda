"""predict: greedy answers of one system. `python -m stages.predict kc`"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from knowtuning.config import load
from knowtuning.config.evaluation import PredictStage
from knowtuning.inference.predict import predict
from knowtuning.machine import detect, fingerprint, started, weights_dtype
from knowtuning.models import load_system, load_tokenizer, weights_stamp
from knowtuning.records import SYSTEMS, Example, read_jsonl, write_jsonl
from knowtuning.resume import Journal, resumable
from stages import CACHE, PARAMS, run

BASE, PREPARED, OUT = Path("models/base"), Path("data/prepared"), Path("data/predictions")


def main() -> None:
    params = load(PARAMS, PredictStage)
    system = sys.argv[1] if len(sys.argv) == 2 else ""
    if system not in SYSTEMS:
        raise ValueError(f"system is {system!r}; expected one of {', '.join(SYSTEMS)}")
    hardware = detect(os.environ)
    processes = started(os.environ, hardware.device)
    adapter = None if system == "base" else Path("models") / system
    split = PREPARED / f"{params.predict.split}.jsonl"
    inputs = [split, BASE, *filter(None, [adapter])]
    settings = [params.model_dump(), fingerprint(hardware), weights_stamp(BASE)]
    stage = f"predict-{system}"
    with resumable(CACHE, stage, settings=settings, inputs=inputs, processes=processes) as state:
        answers = predict(
            read_jsonl(split, Example)[: params.predict.limit],
            load_system(
                BASE, adapter, dtype=weights_dtype(hardware), device=hardware.device, processes=processes
            ),
            load_tokenizer(BASE),
            template=params.model.template,
            max_new_tokens=params.predict.max_new_tokens,
            batch_tokens=hardware.batch_tokens,
            journal=Journal(state, processes),
        )
        if not processes.first:
            return
        write_jsonl(OUT / f"{system}.jsonl", answers)
    cut = sum(answer.truncated for answer in answers)
    print(f"predict: {len(answers)} answers of {system}, {cut} cut off at the token limit")


if __name__ == "__main__":
    run(main)
