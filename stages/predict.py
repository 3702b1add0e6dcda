"""predict: greedy answers of one system. `python -m stages.predict kc`"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from knowtuning.config import load
from knowtuning.config.evaluation import PredictStage
from knowtuning.hardware import detect
from knowtuning.inference.predict import predict
from knowtuning.models import load_system, load_tokenizer
from knowtuning.records import SYSTEMS, Example, read_jsonl, write_jsonl
from stages import PARAMS, run

BASE, PREPARED, OUT = Path("models/base"), Path("data/prepared"), Path("data/predictions")


def main() -> None:
    import torch

    params = load(PARAMS, PredictStage)
    system = sys.argv[1] if len(sys.argv) == 2 else ""
    if system not in SYSTEMS:
        raise ValueError(f"system is {system!r}; expected one of {', '.join(SYSTEMS)}")
    hardware = detect(os.environ)
    dtype = torch.bfloat16 if hardware.device != "cpu" and hardware.precision == "bfloat16" else torch.float32
    adapter = None if system == "base" else Path("models") / system
    examples = read_jsonl(PREPARED / f"{params.predict.split}.jsonl", Example)[: params.predict.limit]
    answers = predict(
        examples,
        load_system(BASE, adapter, dtype=dtype, device=hardware.device),
        load_tokenizer(BASE),
        template=params.model.template,
        max_new_tokens=params.predict.max_new_tokens,
        batch_tokens=hardware.batch_tokens,
    )
    write_jsonl(OUT / f"{system}.jsonl", answers)
    cut = sum(answer.truncated for answer in answers)
    print(f"predict: {len(answers)} answers of {system}, {cut} cut off at the token limit")


if __name__ == "__main__":
    run(main)
