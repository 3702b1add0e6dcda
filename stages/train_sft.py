"""train_sft: plain supervised fine-tuning, the baseline. `python -m stages.train_sft`"""

from __future__ import annotations

from pathlib import Path

from knowtuning.config.training import SFTStage
from knowtuning.core.params import load
from knowtuning.core.records import Example, read_jsonl
from stages import PARAMS, run
from stages.fine_tuning import fine_tune

ORIGINALS, OUT = Path("data/prepared/train.jsonl"), Path("models/sft")


def main() -> None:
    params = load(PARAMS, SFTStage)
    fine_tune(
        "train_sft",
        read_jsonl(ORIGINALS, Example),
        OUT,
        inputs=[ORIGINALS],
        params=params.train_sft,
        model=params.model,
        lora=params.lora,
        seed=params.seed,
    )


if __name__ == "__main__":
    run(main)
