"""score: perplexity of every fact under the base model. `python -m stages.score`"""

from __future__ import annotations

import os
from pathlib import Path

from knowtuning.config.score import ScoreStage
from knowtuning.core.params import load
from knowtuning.core.records import Facts, read_jsonl
from knowtuning.core.storage import write_json
from knowtuning.knowledge.score import recall_check, score, summarise
from knowtuning.model.hardware import detect, detect_processes
from knowtuning.model.load import load_base, weights_stamp
from knowtuning.model.prompt import load_formatter
from knowtuning.model.resume import Journal, resumable
from knowtuning.world.verifier import Truth
from stages import CACHE, PARAMS, run

BASE, TRUTH = Path("models/base"), Path("data/prepared/truth.json")
FACTS, OUT = Path("data/knowledge/facts.jsonl"), Path("data/knowledge/scored_facts.jsonl")
METRICS = Path("metrics/score.json")


def main() -> None:
    import torch

    params = load(PARAMS, ScoreStage)
    records = read_jsonl(FACTS, Facts)
    hardware = detect(os.environ)
    auto = hardware.precision if hardware.device == "cuda" else "float32"
    dtype = auto if params.score.dtype == "auto" else params.score.dtype
    processes = detect_processes(os.environ, hardware.device)
    settings = [params.model_dump(), dtype, hardware.fingerprint(), weights_stamp(BASE)]
    with resumable(
        CACHE, "score", settings=settings, inputs=[FACTS, TRUTH, BASE], processes=processes
    ) as state:
        model = load_base(BASE, dtype=getattr(torch, dtype), device=hardware.device)
        formatter = load_formatter(BASE, params.model)
        truth = Truth.find(TRUTH)
        results = score(
            records,
            model,
            formatter,
            max_length=params.model.max_length,
            recalled=recall_check(truth.cue, model, formatter.tokenizer) if truth else None,
            batch_tokens=hardware.forward_tokens,
            journal=Journal(state, processes),
        )
        if not processes.first:
            return
        results.write(OUT)
        metrics = summarise(results)
        write_json(METRICS, {"dtype": dtype, **metrics})
    results.check(OUT, params.score.max_rejected, "score.max_rejected", total=len(records))
    print(f"score: {metrics['facts']} facts, median perplexity {metrics['ppl_median']}")


if __name__ == "__main__":
    run(main)
