"""predict: answers of one system. `python -m stages.predict kc`"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from knowtuning.config.predict import PredictStage
from knowtuning.core.params import load
from knowtuning.core.records import Example, read_jsonl, write_jsonl
from knowtuning.core.tables import entry
from knowtuning.generation.backends import opened
from knowtuning.generation.generate import Decoding, predict, prompts_of
from knowtuning.generation.vllm import find
from knowtuning.model.hardware import detect, started
from knowtuning.model.load import load_context, weights_stamp
from knowtuning.model.prompt import load_formatter
from knowtuning.model.resume import Journal, resumable
from knowtuning.systems import EVERY, adapter_of
from stages import CACHE, PARAMS, run

BASE, PREPARED, OUT = Path("models/base"), Path("data/prepared"), Path("data/predictions")


def main() -> None:
    params = load(PARAMS, PredictStage)
    system = sys.argv[1] if len(sys.argv) == 2 else ""
    entry(EVERY, system, "system")
    section, hardware = params.predict, detect(os.environ)
    processes = started(os.environ, hardware.device)
    program = find(os.environ, CACHE, hardware, processes) if section.backend == "vllm" else None
    adapter = adapter_of(system)
    split = PREPARED / f"{section.split}.jsonl"
    inputs = [split, BASE, *filter(None, [adapter])]
    settings = [params.model_dump(), hardware.fingerprint(), weights_stamp(BASE), program and program.version]
    decoding = Decoding.of(section, params.seed)
    examples = read_jsonl(split, Example)[: section.limit]
    with resumable(
        CACHE, f"predict-{system}", settings=settings, inputs=inputs, processes=processes
    ) as state:
        formatter = load_formatter(BASE, params.model)
        prompts = prompts_of(examples, formatter, decoding.max_new_tokens, load_context(BASE))
        longest = max(map(len, prompts.values()), default=0) + decoding.max_new_tokens
        journal = Journal(state, processes)
        how = (formatter, decoding, hardware, longest, os.environ)
        with opened(program, BASE, adapter, system, *how) as backend:
            answers = predict(examples, prompts, backend, formatter, decoding, journal)
        if not processes.first:
            return
        write_jsonl(OUT / f"{system}.jsonl", answers)
    cut = sum(answer.truncated for answer in answers)
    print(f"predict: {len(answers)} answers of {system}, {cut} cut off at the token limit")


if __name__ == "__main__":
    run(main)
