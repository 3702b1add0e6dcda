"""Answers by vLLM, in an environment of its own: it pins other versions of torch and transformers."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from knowtuning.core.storage import read_json
from knowtuning.inference.decoders import Tokens, until
from knowtuning.runtime.machine import Hardware, Processes, weights_dtype
from knowtuning.runtime.models import source_of

WORKER = Path(__file__).with_name("vllm_worker.py")
SETTING = "KNOWTUNING_VLLM"
# Prompts sent at a time: what a killed run can lose. vLLM batches them as it sees fit.
_SLICE = 1024
# The ranks that vLLM knows.
_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
# What launchers of several processes set; vLLM would take it for its own.
_LAUNCHER = ("RANK", "WORLD_SIZE", "MASTER_", "LOCAL_", "GROUP_", "ROLE_", "TORCHELASTIC_", "ACCELERATE_")


@dataclass(frozen=True)
class Program:
    """The Python of an environment that has vLLM, and the name and version of that vLLM."""

    python: Path
    version: str


def find(environ: Mapping[str, str], cache: Path) -> Program:
    """The vLLM that KNOWTUNING_VLLM names, or that of `make vllm`. Raises ValueError where there is none."""
    python = Path(environ.get(SETTING) or cache / "vllm/bin/python")
    if not python.is_file():
        raise ValueError(
            f"predict.backend is vllm, but {python} is not there; install vLLM with `make vllm`, or set "
            f"{SETTING} to the Python of an environment that has it"
        )
    done = subprocess.run([python, "-I", WORKER, "--version"], capture_output=True, text=True)
    if done.returncode:
        raise ValueError(f"{python}: {done.stderr.strip().splitlines()[-1]}; install vLLM with `make vllm`")
    return Program(python, done.stdout.strip())


def _devices(environ: Mapping[str, str], hardware: Hardware, processes: Processes) -> tuple[str | None, int]:
    """CUDA_VISIBLE_DEVICES for vLLM (None: as it is), and over how many cards it splits the weights."""
    import torch

    if hardware.device == "cpu":
        return "", 1
    if hardware.device != "cuda":
        raise ValueError(
            f"predict.backend is vllm, which does not run on {hardware.device}; set transformers"
        )
    if processes.count == 1:
        return None, torch.cuda.device_count()
    visible = environ.get("CUDA_VISIBLE_DEVICES", "")
    cards = visible.split(",") if visible else [str(n) for n in range(torch.cuda.device_count())]
    return cards[int(environ.get("LOCAL_RANK", "0"))], 1


class VllmDecoder:
    """A system in vLLM, started with the first question and ended by `close`.

    One process takes all visible cards and splits the weights over them; each of several takes its card.
    """

    def __init__(
        self,
        program: Program,
        base: Path,
        adapter: Path | None,
        eos: int,
        hardware: Hardware,
        processes: Processes,
        environ: Mapping[str, str],
    ) -> None:
        if processes.split:
            raise ValueError(
                "predict.backend is vllm, which splits weights over all visible cards itself, but the "
                "launcher was told to (FSDP); start it with `dvc repro`"
            )
        name, revision = source_of(base)
        visible, cards = _devices(environ, hardware, processes)
        self._python, self._eos = program.python, eos
        self._settings: dict[str, Any] = {
            "model": name,
            **revision,
            "adapter": adapter and str(adapter.resolve()),
            "eos": eos,
            "dtype": str(weights_dtype(hardware)).removeprefix("torch."),
            "tensor_parallel_size": cards,
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
        self._environ = {key: value for key, value in environ.items() if not key.startswith(_LAUNCHER)}
        self._environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
        self._environ |= {"VLLM_NO_USAGE_STATS": "1"}
        if visible is not None:
            self._environ["CUDA_VISIBLE_DEVICES"] = visible
        self._worker: _Worker | None = None

    def plan(self, prompts: Sequence[Tokens], new_tokens: int) -> list[list[int]]:
        self._settings["max_model_len"] = max(map(len, prompts), default=0) + new_tokens
        return [[index] for index in range(len(prompts))]

    def answers(
        self, work: Mapping[str, Sequence[Tokens]], new_tokens: int
    ) -> Iterator[tuple[str, list[Tokens]]]:
        keys = list(work)
        for start in range(0, len(keys), _SLICE):
            if self._worker is None:
                self._worker = _Worker(self._python, self._environ)
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


class _Worker:
    """The process of vllm_worker.py and its pipes."""

    def __init__(self, python: Path, environ: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            [python, "-I", WORKER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environ,
            # Its processes end together, when the pipe from this one does.
            start_new_session=True,
        )

    def ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """The reply to a request. Raises ValueError for an error there, or an end without a word."""
        requests, replies = self._process.stdin, self._process.stdout
        assert requests
        assert replies
        try:
            requests.write(json.dumps(request) + "\n")
            requests.flush()
            line = replies.readline()
        except BrokenPipeError:
            line = ""
        reply: dict[str, Any] = (
            json.loads(line) if line else {"error": f"it ended with status {self._process.wait()}"}
        )
        if "error" in reply:
            text = " ".join(str(reply["error"]).split())
            raise ValueError(f"vLLM: {text[:400]}; predict.backend transformers does without it")
        return reply

    def close(self) -> None:
        """Close the pipes and wait for the end."""
        with suppress(BrokenPipeError):
            self._process.__exit__(None, None, None)
