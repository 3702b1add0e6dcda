"""score: perplexity of every fact under the base model. `python -m stages.score`

Questions of similar length run together. KNOWTUNING_SCORE_BATCH_TOKENS says how many tokens a forward pass
has at most; with 0 each question runs alone, so that no other one can change the last decimal of its facts.
"""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

from tqdm import tqdm

from knowtuning.config.knowledge import ScoreStage
from knowtuning.core.params import load
from knowtuning.core.records import Atoms, read_jsonl
from knowtuning.core.storage import write_json
from knowtuning.inference.ready import make_ready
from knowtuning.knowledge.recall import Recall
from knowtuning.knowledge.score import score, summarise
from knowtuning.runtime.machine import Hardware, fingerprint, forward_tokens, set_up, started
from knowtuning.runtime.models import load_base, load_tokenizer, weights_stamp
from knowtuning.runtime.resume import Journal, resumable
from knowtuning.world.verifier import Truth
from stages import CACHE, PARAMS, run

BASE, TRUTH = Path("models/base"), Path("data/prepared/truth.json")
ATOMS, OUT = Path("data/knowledge/atoms.jsonl"), Path("data/knowledge/scored.jsonl")
METRICS = Path("metrics/score.json")


def batch_budget(text: str, hardware: Hardware) -> int:
    """Tokens a forward pass at most."""
    if text and not text.isdecimal():
        raise ValueError(f"KNOWTUNING_SCORE_BATCH_TOKENS is {text!r}; expected a whole number of tokens")
    return int(text) if text else forward_tokens(hardware)


def main() -> None:
    import torch

    params = load(PARAMS, ScoreStage)
    records = read_jsonl(ATOMS, Atoms)
    hardware = set_up(os.environ)
    auto = hardware.precision if hardware.device.startswith("cuda") else "float32"
    dtype = auto if params.score.dtype == "auto" else params.score.dtype
    processes = started(os.environ, hardware.device)
    budget = batch_budget(os.environ.get("KNOWTUNING_SCORE_BATCH_TOKENS", ""), hardware)
    settings = [params.model_dump(), dtype, budget, fingerprint(hardware), weights_stamp(BASE)]
    with resumable(
        CACHE, "score", settings=settings, inputs=[ATOMS, TRUTH, BASE], processes=processes
    ) as state:
        model = load_base(BASE, dtype=getattr(torch, dtype), device=hardware.device, processes=processes)
        make_ready(model, processes)
        tokenizer = load_tokenizer(BASE)
        scoring = score(
            records,
            model,
            tokenizer,
            template=params.model.template,
            max_length=params.model.max_length,
            recalled=Recall(Truth.load(TRUTH).cue, model, tokenizer) if TRUTH.exists() else None,
            batch_tokens=budget,
            progress=partial(tqdm, mininterval=1, disable=None if processes.first else True),
            journal=Journal(state, processes),
        )
        if not processes.first:
            return
        scoring.results.write(OUT)
        metrics = summarise(scoring)
        write_json(METRICS, {"dtype": dtype, **metrics})
    key = "score.max_rejected"
    scoring.results.check(OUT, params.score.max_rejected, key, total=len(records))
    print(f"score: {metrics['facts']} facts, median perplexity {metrics['ppl_median']}")


if __name__ == "__main__":
    run(main)
