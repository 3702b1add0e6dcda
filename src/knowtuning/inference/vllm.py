"""Answers by vLLM, in an environment of its own: it pins other versions of torch and transformers."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from knowtuning.core.storage import read_json
from knowtuning.inference.decoders import Tokens, until
from knowtuning.runtime.machine import Hardware, Processes, weights_dtype, whole_number
from knowtuning.runtime.models import source_of

WORKER = Path(__file__).with_name("vllm_worker.py")
PYTHON, CARDS, MEMORY = "KNOWTUNING_VLLM", "KNOWTUNING_VLLM_CARDS", "KNOWTUNING_VLLM_MEMORY"
# Prompts sent at a time: what a killed run can lose. vLLM batches them as it sees fit.
_SLICE = 256
# The ranks that vLLM knows.
_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
# What launchers of several processes set; vLLM would take it for its own.
_LAUNCHER = ("RANK", "WORLD_SIZE", "MASTER_", "LOCAL_", "GROUP_", "ROLE_", "TORCHELASTIC_", "ACCELERATE_")
# Errors that only say that there was another one, in a process of vLLM.
_SECOND_HAND = ("Engine core initialization failed", "stack trace", "EngineDeadError")


@dataclass(frozen=True)
class Program:
    """How vLLM is started.

    python: of its environment. version: name and version. cards: over how many it splits the weights.
    memory: share of a card's memory that it takes. visible: CUDA_VISIBLE_DEVICES, None: as it is.
    """

    python: Path
    version: str
    cards: int
    memory: float
    visible: str | None


def find(environ: Mapping[str, str], cache: Path, hardware: Hardware, processes: Processes) -> Program:
    """The vLLM that KNOWTUNING_VLLM names, or that of `make vllm`, for a machine it serves.

    Raises ValueError where there is none, or the settings ask for what it cannot do.
    """
    python = Path(environ.get(PYTHON) or cache / "vllm/bin/python")
    if not python.is_file():
        raise ValueError(
            f"predict.backend is vllm, but {python} is not there; install vLLM with `make vllm`, or set "
            f"{PYTHON} to the Python of an environment that has it"
        )
    done = subprocess.run([python, "-I", WORKER, "--version"], capture_output=True, text=True)
    version = done.stdout.strip()
    if done.returncode:
        said = (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1]
        raise ValueError(f"{python}: {said}; install vLLM with `make vllm`")
    if hardware.device not in ("cpu", "cuda"):
        raise ValueError(f"predict.backend is vllm, which has no {hardware.device}; set it to transformers")
    if ("cpu" in version) != (hardware.device == "cpu"):
        raise ValueError(
            f"{python} has {version}, which does not compute on {hardware.device}; install the build that "
            "does (docs/hardware.md), or set KNOWTUNING_DEVICE"
        )
    if processes.split:
        raise ValueError(
            f"predict.backend is vllm, which splits weights itself; start one process with {CARDS}, "
            "not with fsdp.yaml or deepspeed.yaml"
        )
    cards, memory = whole_number(environ, CARDS, least=1) or 1, environ.get(MEMORY) or "0.9"
    if not re.fullmatch(r"0?\.\d+", memory) or float(memory) == 0:
        raise ValueError(f"{MEMORY} is {memory!r}; expected a share between 0 and 1, such as 0.5")
    visible = _visible(environ, cards, processes) if hardware.device == "cuda" else ""
    return Program(python, version, cards, float(memory), visible)


def _visible(environ: Mapping[str, str], cards: int, processes: Processes) -> str | None:
    """CUDA_VISIBLE_DEVICES for vLLM: each of several processes takes the card its launcher gave it."""
    import torch

    there = torch.cuda.device_count()
    if processes.count == 1:
        if cards > there:
            raise ValueError(f"{CARDS} is {cards}; expected at most {there}, the cards that can be seen")
        return None
    beside = int(environ.get("LOCAL_WORLD_SIZE") or processes.count)
    if cards > 1 or beside > there:
        raise ValueError(
            f"{beside} processes with {CARDS} {cards}; there are {there} cards, and of several "
            "processes each takes one: start fewer, or a single one"
        )
    seen = environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(there)))
    return seen.split(",")[torch.cuda.current_device()]


class VllmDecoder:
    """A system in vLLM, started with the first question and ended by `close`."""

    def __init__(
        self,
        program: Program,
        base: Path,
        adapter: Path | None,
        eos: int,
        hardware: Hardware,
        environ: Mapping[str, str],
    ) -> None:
        name, revision = source_of(base)
        dtype = str(weights_dtype(hardware)).removeprefix("torch.")
        if adapter and hardware.device == "cuda" and dtype == "float32":
            raise ValueError(
                "predict.backend is vllm, whose adapters need bfloat16 on a GPU, but the precision is "
                "float32; set KNOWTUNING_PRECISION, or predict.backend to transformers"
            )
        self._program, self._eos = program, eos
        self._context = _context(name, revision)
        self._settings: dict[str, Any] = {
            "model": name,
            **revision,
            "adapter": adapter and str(adapter.resolve()),
            "eos": eos,
            "dtype": dtype,
            "tensor_parallel_size": program.cards,
            "gpu_memory_utilization": program.memory,
            "trust_remote_code": False,
            "load_format": "safetensors",
            "generation_config": "vllm",
            "seed": 0,
            # On a CPU compiling takes longer than it saves.
            "enforce_eager": hardware.device == "cpu",
        }
        if adapter:
            rank = read_json(adapter / "adapter_config.json")["r"]
            fits = next((known for known in _RANKS if known >= rank), rank)
            self._settings |= {"enable_lora": True, "max_lora_rank": fits}
        self._environ = {
            # What it takes of a CPU's memory, in GiB; by itself it would take nearly all.
            "VLLM_CPU_KVCACHE_SPACE": "4",
            "VLLM_LOGGING_LEVEL": "ERROR",
            "VLLM_NO_USAGE_STATS": "1",
            "VLLM_WORKER_MULTIPROC_METHOD": "spawn",
            **{key: value for key, value in environ.items() if not key.startswith(_LAUNCHER)},
        }
        if program.visible is not None:
            self._environ["CUDA_VISIBLE_DEVICES"] = program.visible
        self._worker: _Worker | None = None

    def plan(self, prompts: Sequence[Tokens], new_tokens: int) -> list[list[int]]:
        for number, prompt in enumerate(prompts, start=1):
            if self._context and len(prompt) + new_tokens > self._context:
                raise ValueError(
                    f"question {number}: {len(prompt)} tokens and {new_tokens} new ones; vLLM takes the "
                    f"{self._context} of the model at most; lower predict.max_new_tokens or set "
                    "predict.backend to transformers"
                )
        self._settings["max_model_len"] = max(map(len, prompts), default=0) + new_tokens
        return [[index] for index in range(len(prompts))]

    def answers(
        self, work: Mapping[str, Sequence[Tokens]], new_tokens: int
    ) -> Iterator[tuple[str, list[Tokens]]]:
        keys = list(work)
        for start in range(0, len(keys), _SLICE):
            if self._worker is None:
                self._worker = _Worker(self._program.python, self._environ)
                self._worker.ask(self._settings)
            part = keys[start : start + _SLICE]
            prompts = [prompt for key in part for prompt in work[key]]
            found = iter(self._worker.ask({"prompts": prompts, "new_tokens": new_tokens})["answers"])
            for key in part:
                yield key, [until(self._eos, next(found)) for _ in work[key]]

    def close(self) -> None:
        """End vLLM: at once where it is at work, else in its own time."""
        if self._worker is not None:
            self._worker.close()


def _context(name: str, revision: Mapping[str, str]) -> int | None:
    """Tokens of the longest context a model was made for; None where its configuration does not say."""
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(name, trust_remote_code=False, **revision).get_text_config()
    return getattr(config, "max_position_embeddings", None)


class _Worker:
    """The process of vllm_worker.py, with all that it starts, and its pipes."""

    def __init__(self, python: Path, environ: Mapping[str, str]) -> None:
        # What vLLM says is shown when asked for; of its errors, which fill pages, the cause is told.
        self._said = None if environ.get("KNOWTUNING_DEBUG") else tempfile.TemporaryFile()  # noqa: SIM115
        self._process = subprocess.Popen(
            [python, "-I", WORKER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            env=environ,
            # Its processes are a group; they end together, also when the pipe from this one does.
            start_new_session=True,
        )
        self._waiting = False
        self._burial = threading.Thread(target=self._bury, daemon=True)
        self._burial.start()

    def _bury(self) -> None:
        """Wait for its end, and end what it has left: that may hold the pipe we listen to."""
        self._process.wait()
        self._kill()

    def ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """The reply to a request. Raises ValueError for an error there, or an end without a word."""
        requests, replies = self._process.stdin, self._process.stdout
        assert requests
        assert replies
        self._waiting = True
        line = b""
        with suppress(BrokenPipeError):
            requests.write(json.dumps(request).encode() + b"\n")
            requests.flush()
            line = replies.readline()
        self._waiting = False
        if not line.endswith(b"\n"):
            raise ValueError(self._cause(f"it ended with status {self._process.wait()}"))
        reply: dict[str, Any] = json.loads(line)
        if "error" in reply:
            raise ValueError(self._cause(str(reply["error"])))
        return reply

    def _cause(self, error: str) -> str:
        """One line about an error: what vLLM's processes said first, where the worker only heard of it."""
        if self._said:
            self._said.seek(0)
            said = self._said.read().decode(errors="replace")
            errors = re.findall(r"\b(\w+(?:Error|Exception): \S.*)", said)
            causes = [text for text in errors if not any(phrase in text for phrase in _SECOND_HAND)]
            error = (causes or [error])[0]
        # Not in the words by which a stage knows that its own memory is full.
        text = " ".join(error.split()).replace("out of memory", "out-of-memory")
        return (
            f"vLLM: {text[:400]}; KNOWTUNING_DEBUG=1 shows all it says; {MEMORY} sets its share of a card, "
            "VLLM_CPU_KVCACHE_SPACE its GiB of a CPU's memory"
        )

    def close(self) -> None:
        """Close the pipes and end all processes; those with an answer under way at once."""
        if self._waiting:
            self._kill()
        with suppress(BrokenPipeError):
            self._process.__exit__(None, None, None)
        self._burial.join()
        if self._said:
            self._said.close()

    def _kill(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
