"""train_ka: fine-tuning on the originals and their rewrites. `python -m stages.train_ka`"""

from __future__ import annotations

from pathlib import Path

from knowtuning.config.training import KAStage
from knowtuning.core.params import load
from knowtuning.core.records import Example, Rewrite, read_jsonl
from stages import PARAMS, run
from stages.fine_tuning import fine_tune

ORIGINALS, REWRITES = Path("data/prepared/train.jsonl"), Path("data/knowledge/ka.jsonl")
OUT = Path("models/ka")


def main() -> None:
    params = load(PARAMS, KAStage)
    fine_tune(
        "train_ka",
        [*read_jsonl(ORIGINALS, Example), *read_jsonl(REWRITES, Rewrite)],
        OUT,
        inputs=[ORIGINALS, REWRITES],
        params=params.train_ka,
        model=params.model,
        lora=params.lora,
        seed=params.seed,
    )


if __name__ == "__main__":
    run(main)
