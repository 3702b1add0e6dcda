"""The backend that a stage answers with: a system on a vLLM server, or in this process."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from knowtuning.generation.generate import Backend, Decoding, ModelBackend
from knowtuning.generation.vllm import Program, VllmBackend, serving
from knowtuning.model.hardware import Hardware
from knowtuning.model.load import load_system
from knowtuning.model.prompt import Formatter


@contextmanager
def opened(
    program: Program | None,
    base: Path,
    adapter: Path | None,
    system: str,
    formatter: Formatter,
    decoding: Decoding,
    hardware: Hardware,
    longest: int,
    environ: Mapping[str, str],
) -> Iterator[Backend]:
    """The system on a vLLM server where there is a program, else in this process.

    longest: prompt and answer together at most, tokens.
    """
    if program:
        with serving(program, base, adapter, system, hardware, longest, environ) as url:
            yield VllmBackend(url, system, decoding, formatter.ends)
        return
    model = load_system(base, adapter, dtype=hardware.weights_dtype, device=hardware.device)
    padding = int(formatter.tokenizer.pad_token_id)
    yield ModelBackend(model, decoding, formatter.ends, padding, batch_tokens=hardware.batch_tokens)
