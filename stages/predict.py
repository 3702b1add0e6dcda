"""predict: greedy answers of one system. `python -m stages.predict kc`"""

from __future__ import annotations

import os
import sys
from contextlib import AbstractContextManager, closing, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from knowtuning.config.evaluation import PredictStage
from knowtuning.core.params import load
from knowtuning.core.records import SYSTEMS, Example, read_jsonl, write_jsonl
from knowtuning.inference.decoders import Decoder, ModelDecoder
from knowtuning.inference.predict import predict
from knowtuning.inference.ready import make_ready
from knowtuning.inference.vllm import Program, VllmDecoder, find
from knowtuning.runtime.machine import Hardware, Processes, fingerprint, set_up, started, weights_dtype
from knowtuning.runtime.models import load_system, load_tokenizer, weights_stamp
from knowtuning.runtime.resume import Journal, resumable
from stages import CACHE, PARAMS, run

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

BASE, PREPARED, OUT = Path("models/base"), Path("data/prepared"), Path("data/predictions")


def main() -> None:
    params = load(PARAMS, PredictStage)
    system = sys.argv[1] if len(sys.argv) == 2 else ""
    if system not in SYSTEMS:
        raise ValueError(f"system is {system!r}; expected one of {', '.join(SYSTEMS)}")
    hardware = set_up(os.environ)
    processes = started(os.environ, hardware.device)
    program = None
    if params.predict.backend == "vllm":
        program = find(os.environ, CACHE, hardware, processes)
    adapter = None if system == "base" else Path("models") / system
    split = PREPARED / f"{params.predict.split}.jsonl"
    inputs = [split, BASE, *filter(None, [adapter])]
    engine = f"{program.version}, {program.cards} cards" if program else None
    settings = [params.model_dump(), fingerprint(hardware), weights_stamp(BASE), engine]
    stage = f"predict-{system}"
    with resumable(CACHE, stage, settings=settings, inputs=inputs, processes=processes) as state:
        tokenizer = load_tokenizer(BASE)
        with _decoder(tokenizer, adapter, program, hardware, processes) as decoder:
            answers = predict(
                read_jsonl(split, Example)[: params.predict.limit],
                decoder,
                tokenizer,
                template=params.model.template,
                max_new_tokens=params.predict.max_new_tokens,
                journal=Journal(state, processes),
            )
        if not processes.first:
            return
        write_jsonl(OUT / f"{system}.jsonl", answers)
    cut = sum(answer.truncated for answer in answers)
    print(f"predict: {len(answers)} answers of {system}, {cut} cut off at the token limit")


def _decoder(
    tokenizer: PreTrainedTokenizerBase,
    adapter: Path | None,
    program: Program | None,
    hardware: Hardware,
    processes: Processes,
) -> AbstractContextManager[Decoder]:
    """The system in vLLM where there is a program, else in this process."""
    if program:
        eos = int(tokenizer.eos_token_id)
        return closing(VllmDecoder(program, BASE, adapter, eos, hardware, os.environ))
    dtype, device = weights_dtype(hardware), hardware.device
    model = load_system(BASE, adapter, dtype=dtype, device=device, processes=processes)
    make_ready(model, processes)
    return nullcontext(ModelDecoder(model, tokenizer, batch_tokens=hardware.batch_tokens))


if __name__ == "__main__":
    run(main)
