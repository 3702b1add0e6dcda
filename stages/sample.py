"""sample: several answers of a system to each training question. `python -m stages.sample sft`"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from knowtuning.config.sample import SampleStage
from knowtuning.core.params import load
from knowtuning.core.records import Example, Sample, read_jsonl, write_jsonl
from knowtuning.core.tables import entry
from knowtuning.generation.backends import opened
from knowtuning.generation.generate import Decoding, Tokens, generate, prompts_of
from knowtuning.generation.vllm import find
from knowtuning.model.hardware import Hardware, detect, started
from knowtuning.model.load import load_context, load_system, weights_stamp
from knowtuning.model.prompt import Formatter, load_formatter
from knowtuning.model.resume import Journal, resumable
from knowtuning.systems import EVERY, adapter_of
from stages import CACHE, PARAMS, run

BASE, TRAIN, OUT = Path("models/base"), Path("data/prepared/train.jsonl"), Path("data/samples")


def main() -> None:
    system = sys.argv[1] if len(sys.argv) == 2 else ""
    entry(EVERY, system, "system")
    params = load(PARAMS, SampleStage)
    section, hardware = params.sample, detect(os.environ)
    processes = started(os.environ, hardware.device)
    program = find(os.environ, CACHE, hardware, processes) if section.backend == "vllm" else None
    adapter = adapter_of(system)
    settings = [params.model_dump(), hardware.fingerprint(), weights_stamp(BASE), program and program.version]
    decoding = Decoding.of(section, params.seed, section.samples)
    examples = read_jsonl(TRAIN, Example)[: section.limit]
    inputs = [TRAIN, BASE, *filter(None, [adapter])]
    with resumable(CACHE, f"sample-{system}", settings=settings, inputs=inputs, processes=processes) as state:
        formatter = load_formatter(BASE, params.model)
        context = load_context(BASE)
        prompts = prompts_of(examples, formatter, decoding.max_new_tokens, context, section="sample")
        longest = max(map(len, prompts.values()), default=0) + decoding.max_new_tokens
        how = (formatter, decoding, hardware, longest, os.environ)
        with opened(program, BASE, adapter, system, *how) as backend:
            answers = generate(prompts, backend, decoding, Journal(state, processes), heading="sample")
        if not processes.first:
            return
        samples = _samples(examples, answers, formatter, decoding)
        logps = _logps(samples, prompts, answers, adapter, formatter, hardware)
        rows = [Sample(**each, logps=round(value, 4)) for each, value in zip(samples, logps, strict=True)]
        write_jsonl(OUT / f"{system}.jsonl", rows)
    cut = sum(row.truncated for row in rows)
    print(f"sample: {len(rows)} answers of {system} to {len(examples)} questions, {cut} cut off")


def _samples(
    examples: list[Example], answers: dict[str, list[Tokens]], formatter: Formatter, decoding: Decoding
) -> list[dict[str, Any]]:
    """The fields of all samples but their log-probabilities, by question."""
    return [
        {
            "id": f"{example.id}/{number:02}",
            "source": example.id,
            "number": number,
            "question": example.question,
            "answer": formatter.decode(tokens),
            "tokens": len(tokens),
            "truncated": len(tokens) == decoding.max_new_tokens,
        }
        for example in examples
        for number, tokens in enumerate(answers[example.id])
    ]


def _logps(
    samples: list[dict[str, Any]],
    prompts: dict[str, Tokens],
    answers: dict[str, list[Tokens]],
    adapter: Path | None,
    formatter: Formatter,
    hardware: Hardware,
) -> list[float]:
    """Summed log-probability of each sample, with its end where it has one, nats."""
    from knowtuning.training.logps import add_head, completion_logps

    model = load_system(BASE, adapter, dtype=hardware.weights_dtype, device=hardware.device)
    add_head(model)
    pairs = []
    for each in samples:
        tokens = answers[each["source"]][each["number"]]
        pairs.append(
            (prompts[each["source"]], tokens if each["truncated"] else [*tokens, formatter.ends[-1]])
        )
    with hardware.autocast():
        return completion_logps(model, pairs, hardware.forward_tokens)


if __name__ == "__main__":
    run(main)
