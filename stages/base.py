"""base: the model everything starts from. `python -m stages.base`

Trains a small one on the prepared corpus (base.source: scratch), pins one of the hub (hub), or unpacks one
from a file (gguf).
"""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path

from knowtuning.config.base import BaseStage, local_paths
from knowtuning.core.params import check_watched, load
from knowtuning.core.records import Example, read_jsonl
from knowtuning.core.storage import write_json
from knowtuning.model.hardware import check_single_process, detect
from knowtuning.model.published import pin_model, unpack_gguf
from knowtuning.model.resume import resumable
from knowtuning.pretraining.scratch import build_base
from stages import CACHE, PARAMS, run

PREPARED, OUT, METRICS = Path("data/prepared"), Path("models/base"), Path("metrics/base.json")


def main() -> None:
    params = load(PARAMS, BaseStage)
    check_watched(local_paths(params.base))
    if params.base.source == "hub":
        pin = pin_model(params.base.hub, OUT, params.base.quantization)
        write_json(METRICS, {"source": "hub", **pin})
        print(f"base: {pin['id']} at {pin['commit']}")
        return
    if params.base.source == "gguf":
        unpacked = unpack_gguf(params.base.gguf, OUT)
        write_json(METRICS, {"source": "gguf", **unpacked})
        print(f"base: {unpacked['file']}, {unpacked['parameters']:,} parameters, sha256 {unpacked['sha256']}")
        return
    train_from_scratch(params)


def train_from_scratch(params: BaseStage) -> None:
    """Train the base model on the prepared corpus, from where a killed run of the same inputs was."""
    corpus = (PREPARED / "corpus.txt").read_text(encoding="utf-8").splitlines()
    questions = [example.question for example in read_jsonl(PREPARED / "train.jsonl", Example)]
    check_single_process(os.environ, "base")
    hardware = detect(os.environ)
    inputs = [PREPARED / "corpus.txt", PREPARED / "train.jsonl"]
    settings = [params.model_dump(), hardware.fingerprint()]
    with resumable(CACHE, "base", settings=settings, inputs=inputs) as state:
        scratch = params.base.scratch
        trained = build_base(
            corpus, questions, scratch, OUT, seed=params.seed, hardware=hardware, state=state
        )
        write_json(METRICS, {"source": "scratch", **asdict(trained), "loss": round(trained.loss, 4)})
    print(f"base: {trained.parameters:,} parameters, {trained.tokens:,} tokens, loss {trained.loss:.3f}")


if __name__ == "__main__":
    run(main)
