"""sample: several answers of a system to each training question. `python -m stages.sample sft`"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from knowtuning.config.predict import SampleStage
from knowtuning.core.params import load
from knowtuning.core.records import Sample, write_jsonl
from knowtuning.generation.answering import Answers, answered
from knowtuning.model.load import load_system
from knowtuning.systems import BASE, EVERY, adapter_of
from stages import CACHE, PARAMS, named, run

TRAIN, OUT = Path("data/prepared/train.jsonl"), Path("data/samples")


def main() -> None:
    system, params = named(EVERY, "system"), load(PARAMS, SampleStage)
    with answered("sample", params, system, TRAIN, cache=CACHE, environ=os.environ) as answers:
        if answers is None:
            return
        rows = list(samples(answers, adapter_of(system)))
        write_jsonl(OUT / f"{system}.jsonl", rows)
    cut = sum(row.truncated for row in rows)
    print(f"sample: {len(rows)} answers of {system} to {len(answers.examples)} questions, {cut} cut off")


def samples(answers: Answers, adapter: Path | None) -> Iterator[Sample]:
    """The samples of all questions, with their log-probabilities under the system that they come from."""
    from knowtuning.training.logps import add_head, completion_logps

    hardware, formatter, limit = answers.hardware, answers.formatter, answers.decoding.max_new_tokens
    rows = [
        (example, number, tokens)
        for example in answers.examples
        for number, tokens in enumerate(answers.tokens[example.id])
    ]
    # What was not cut off has its end too.
    completions = [tokens if len(tokens) == limit else [*tokens, formatter.ends[-1]] for _, _, tokens in rows]
    prompts = [answers.prompts[example.id] for example, _, _ in rows]
    model = load_system(BASE, adapter, dtype=hardware.weights_dtype, device=hardware.device)
    add_head(model)
    with hardware.autocast():
        pairs = list(zip(prompts, completions, strict=True))
        logps = completion_logps(model, pairs, hardware.forward_tokens, title="sample: log-probabilities")
    for (example, number, tokens), value in zip(rows, logps, strict=True):
        yield Sample(
            id=f"{example.id}/{number:02}",
            source=example.id,
            number=number,
            question=example.question,
            answer=formatter.decode(tokens),
            tokens=len(tokens),
            logps=round(value, 4),
            truncated=len(tokens) == limit,
        )


if __name__ == "__main__":
    run(main)
