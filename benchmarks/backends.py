"""vLLM's answers beside the default's: `python benchmarks/backends.py [--systems base kc] [--questions N]`

Both answer the questions of this checkout (`make repro` and `make vllm` come first). An answer that differs
is followed to its first other token, and the table says how far apart the default's model holds the two:
where rounding decides, both are all but the most probable; a gap beyond rounding is an error of one side.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from knowtuning.config.evaluation import PredictStage  # noqa: E402
from knowtuning.core.params import load  # noqa: E402
from knowtuning.core.records import SYSTEMS, Example, read_jsonl  # noqa: E402
from knowtuning.inference.decoders import Decoder, ModelDecoder  # noqa: E402
from knowtuning.inference.predict import decode  # noqa: E402
from knowtuning.inference.ready import make_ready  # noqa: E402
from knowtuning.inference.vllm import VllmDecoder, find  # noqa: E402
from knowtuning.runtime.machine import ALONE, detect, weights_dtype  # noqa: E402
from knowtuning.runtime.models import load_system, load_tokenizer  # noqa: E402
from knowtuning.runtime.prompting import encode_prompt  # noqa: E402


@dataclass(frozen=True)
class Difference:
    """Where two answers part: place in the answer, and log p of one token less that of the other (nats)."""

    place: int
    gap: float


def parting(model: Any, prompt: list[int], ours: list[int], theirs: list[int], eos: int) -> Difference:
    """The first place where `theirs` has another token than `ours`, which are the model's own answer."""
    import torch

    ours, theirs = [*ours, eos], [*theirs, eos]
    place = next(n for n, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b)
    ids = torch.tensor([[*prompt, *ours[:place]]], device=model.device)
    with torch.no_grad():
        logits = model(ids).logits[0, -1].float()
    return Difference(place, (logits[ours[place]] - logits[theirs[place]]).item())


def timed(decoder: Decoder, prompts: Sequence[list[int]], new_tokens: int) -> tuple[list[list[int]], float]:
    """The answers in the order of the prompts, and the seconds they took."""
    start = time.perf_counter()
    return decode(prompts, decoder, new_tokens), time.perf_counter() - start


def compare(folder: Path, system: str, questions: int | None) -> str:
    """A row of the table."""
    params, hardware = load(folder / "params.yaml", PredictStage), detect(os.environ)
    base = folder / "models/base"
    adapter = None if system == "base" else folder / "models" / system
    tokenizer = load_tokenizer(base)
    examples = read_jsonl(folder / f"data/prepared/{params.predict.split}.jsonl", Example)[:questions]
    prompts = [encode_prompt(tokenizer, params.model.template, example.question) for example in examples]
    new_tokens, eos = params.predict.max_new_tokens, int(tokenizer.eos_token_id)
    program = find(os.environ, ROOT / ".cache", hardware, ALONE)
    with closing(VllmDecoder(program, base, adapter, eos, hardware, os.environ)) as engine:
        engine.plan(prompts, new_tokens)
        list(engine.answers({"first": prompts[:1]}, new_tokens))  # starts it
        theirs, their_seconds = timed(engine, prompts, new_tokens)
    model = load_system(base, adapter, dtype=weights_dtype(hardware), device=hardware.device)
    make_ready(model)
    ours, our_seconds = timed(ModelDecoder(model, tokenizer), prompts, new_tokens)
    apart = [
        parting(model, prompt, mine, other, eos)
        for prompt, mine, other in zip(prompts, ours, theirs, strict=True)
        if mine != other
    ]
    tokens = sum(map(len, ours))
    gaps = f"{max(found.gap for found in apart):.4f}" if apart else "-"
    return (
        f"| {system} | {program.version} | {len(prompts)} | {tokens} | {len(apart)} | {gaps} "
        f"| {our_seconds:.1f} | {their_seconds:.1f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--folder", type=Path, default=ROOT, help="a checkout with models and data")
    parser.add_argument("--systems", nargs="+", choices=SYSTEMS, default=["base", "kc"])
    parser.add_argument("--questions", type=int, help="the first of them; default: all")
    options = parser.parse_args()
    print("| system | program | answers | tokens | differ | largest gap, nats | default s | vLLM s |")
    print("|---|---|---:|---:|---:|---:|---:|---:|")
    for system in options.systems:
        print(compare(options.folder, system, options.questions), flush=True)


if __name__ == "__main__":
    main()
