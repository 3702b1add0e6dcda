"""What the worker uses of vLLM, computed by transformers. TROUBLE makes it fail as vLLM may."""

from __future__ import annotations

import multiprocessing
import os
import sys
import time
from dataclasses import dataclass
from typing import Any

TROUBLE = os.environ.get("TROUBLE", "")
LAUNCHER = {"RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"}
print("vLLM says hello on stdout")


@dataclass
class SamplingParams:
    temperature: float
    ignore_eos: bool
    stop_token_ids: list[int]
    detokenize: bool
    max_tokens: int = 16


@dataclass
class Text:
    token_ids: tuple[int, ...]


@dataclass
class Found:
    outputs: list[Text]


class LLM:
    def __init__(
        self,
        model: str,
        dtype: str,
        max_model_len: int,
        tensor_parallel_size: int,
        gpu_memory_utilization: float,
        trust_remote_code: bool,
        load_format: str,
        generation_config: str,
        seed: int,
        enforce_eager: bool,
        enable_lora: bool = False,
        max_lora_rank: int = 16,
        revision: str | None = None,
    ) -> None:
        # vLLM's engine is a process of its own, on CUDA a fork.
        self.engine = multiprocessing.get_context("fork").Process(target=_engine, daemon=True)
        self.engine.start()
        if "PIDS" in os.environ:
            with open(os.environ["PIDS"], "w") as stream:
                stream.write(f"{os.getpid()} {self.engine.pid}")
        if TROUBLE == "load":
            sys.stderr.write("(EngineCore) torch.OutOfMemoryError: CUDA out of memory. Tried 20 GiB\n")
            raise RuntimeError("Engine core initialization failed. See root cause above.")
        assert not LAUNCHER & set(os.environ)
        assert os.environ["CUDA_VISIBLE_DEVICES"] == ""
        assert (trust_remote_code, load_format, generation_config) == (False, "safetensors", "vllm")
        assert max_lora_rank in (8, 16)
        self.name, self.dtype, self.longest, self.calls = model, dtype, max_model_len, 0

    def generate(
        self,
        prompts: list[dict[str, list[int]]],
        sampling_params: SamplingParams,
        lora_request: Any,
        use_tqdm: bool,
    ) -> list[Found]:
        self.calls += 1
        if TROUBLE == "die" and self.calls == 2:
            os._exit(3)
        if TROUBLE == "hang":
            time.sleep(600)
        assert (sampling_params.temperature, sampling_params.ignore_eos) == (0, True)
        print("and now and then")
        import torch
        from peft import PeftModel
        from transformers import AutoModelForCausalLM

        model: Any = AutoModelForCausalLM.from_pretrained(self.name, dtype=self.dtype)
        if lora_request:
            model = PeftModel.from_pretrained(model, lora_request.path)
        found = []
        for prompt in prompts:
            ids = list(prompt["prompt_token_ids"])
            assert len(ids) + sampling_params.max_tokens <= self.longest
            answer: list[int] = []
            end = sampling_params.stop_token_ids
            while len(answer) < sampling_params.max_tokens and answer[-1:] != end:
                with torch.no_grad():
                    answer.append(int(model(torch.tensor([ids + answer])).logits[0, -1].argmax()))
            found.append(Found([Text(tuple(answer))]))
        return found


def _engine() -> None:
    """Says by a file that it runs: a fork may hang before it gets here."""
    if "ENGINE" in os.environ:
        with open(os.environ["ENGINE"], "w") as stream:
            stream.write("runs")
    time.sleep(600)
