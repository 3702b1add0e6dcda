"""The answers of one system to the questions of a file: what the stages predict and sample share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from knowtuning.core.records import Example, read_jsonl
from knowtuning.generation.generate import Decoding, Tokens, generate, load_backend, prompts_of
from knowtuning.generation.vllm import VllmBackend, find, serving
from knowtuning.model.hardware import Hardware, detect, detect_processes
from knowtuning.model.load import load_context, weights_stamp
from knowtuning.model.prompt import Formatter, load_formatter
from knowtuning.model.resume import Journal, resumable
from knowtuning.systems import BASE, adapter_of

if TYPE_CHECKING:
    from knowtuning.config.predict import PredictStage, SampleStage


@dataclass(frozen=True)
class Answers:
    """Questions with the prompt (token ids) and the answers of each, by its id."""

    examples: list[Example]
    prompts: dict[str, Tokens]
    tokens: dict[str, list[Tokens]]
    formatter: Formatter
    decoding: Decoding
    hardware: Hardware


@contextmanager
def answered(
    stage: Literal["predict", "sample"],
    params: PredictStage | SampleStage,
    system: str,
    questions: Path,
    *,
    cache: Path,
    environ: Mapping[str, str],
) -> Iterator[Answers | None]:
    """The answers of a system to a file of examples, as the section of params by the stage's name says.

    A killed run goes on where it was; its state is removed when the block ends well, so write the output in
    there. Of several processes the first gets the answers, the others None.
    """
    section = getattr(params, stage)
    hardware, adapter = detect(environ), adapter_of(system)
    processes = detect_processes(environ, hardware.device)
    program = find(environ, cache, hardware, processes) if section.backend == "vllm" else None
    decoding = Decoding.of(section, params.seed, getattr(section, "samples", 1))
    examples = read_jsonl(questions, Example)[: section.limit]
    settings = [params.model_dump(), hardware.fingerprint(), weights_stamp(BASE), program and program.version]
    inputs = [questions, BASE, *filter(None, [adapter])]
    name = f"{stage}-{system}"
    with resumable(cache, name, settings=settings, inputs=inputs, processes=processes) as state:
        formatter = load_formatter(BASE, params.model)
        prompts = prompts_of(examples, formatter, section.max_new_tokens, load_context(BASE), section=stage)
        journal = Journal(state, processes)
        complete = partial(generate, prompts, decoding=decoding, journal=journal, heading=stage)
        if program:
            longest = max(map(len, prompts.values()), default=0) + section.max_new_tokens
            with serving(program, BASE, adapter, system, hardware, longest, environ) as url:
                tokens = complete(VllmBackend(url, system, decoding, formatter.ends))
        else:  # without a name, so that its weights are freed before the block loads others
            tokens = complete(load_backend(BASE, adapter, formatter, decoding, hardware))
        answers = Answers(examples, prompts, tokens, formatter, decoding, hardware)
        yield answers if processes.first else None
