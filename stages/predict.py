"""predict: answers of one system. `python -m stages.predict kc`"""

from __future__ import annotations

import os
from pathlib import Path

from knowtuning.config.predict import PredictStage
from knowtuning.core.params import load
from knowtuning.core.records import write_jsonl
from knowtuning.generation.answering import answered
from knowtuning.generation.generate import predictions
from knowtuning.systems import EVERY
from stages import CACHE, PARAMS, named, run

PREPARED, OUT = Path("data/prepared"), Path("data/predictions")


def main() -> None:
    system, params = named(EVERY, "system"), load(PARAMS, PredictStage)
    questions = PREPARED / f"{params.predict.split}.jsonl"
    with answered("predict", params, system, questions, cache=CACHE, environ=os.environ) as answers:
        if answers is None:
            return
        rows = predictions(answers.examples, answers.tokens, answers.formatter, answers.decoding)
        write_jsonl(OUT / f"{system}.jsonl", rows)
    cut = sum(row.truncated for row in rows)
    print(f"predict: {len(rows)} answers of {system}, {cut} cut off at the token limit")


if __name__ == "__main__":
    run(main)
