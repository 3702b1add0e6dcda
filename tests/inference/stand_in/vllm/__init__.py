"""What the worker uses of vLLM, computed by transformers. TROUBLE makes it fail as vLLM may."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from types import SimpleNamespace
from typing import Any

TROUBLE = os.environ.get("TROUBLE", "")
LAUNCHER = {"RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"}
print("vLLM says hello on stdout")


class SamplingParams(SimpleNamespace):
    max_tokens: int


class LLM:
    def __init__(self, model: str, **settings: Any) -> None:
        if TROUBLE == "load":
            raise RuntimeError("CUDA out of memory.\nTried to allocate 20 GiB")
        assert not LAUNCHER & set(os.environ)
        assert os.environ["CUDA_VISIBLE_DEVICES"] == ""
        assert settings["trust_remote_code"] is False
        assert settings["load_format"] == "safetensors"
        assert settings.get("max_lora_rank", 8) == 8
        self.name, self.settings = model, settings

    def generate(
        self, prompts: list[dict[str, list[int]]], sampling_params: Any, lora_request: Any, use_tqdm: bool
    ) -> list[Any]:
        if TROUBLE == "die":
            os._exit(3)
        if TROUBLE == "hang":
            # vLLM's engine is a process of its own.
            child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
            with open(os.environ["PIDS"], "w") as stream:
                stream.write(f"{os.getpid()} {child.pid}")
            time.sleep(600)
        print("and now and then")
        import torch
        from peft import PeftModel
        from transformers import AutoModelForCausalLM

        model: Any = AutoModelForCausalLM.from_pretrained(self.name, dtype=self.settings["dtype"])
        if lora_request:
            model = PeftModel.from_pretrained(model, lora_request.path)
        found = []
        for prompt in prompts:
            ids = list(prompt["prompt_token_ids"])
            assert len(ids) + sampling_params.max_tokens <= self.settings["max_model_len"]
            answer: list[int] = []
            end = sampling_params.stop_token_ids
            while len(answer) < sampling_params.max_tokens and answer[-1:] != end:
                with torch.no_grad():
                    answer.append(int(model(torch.tensor([ids + answer])).logits[0, -1].argmax()))
            found.append(SimpleNamespace(outputs=[SimpleNamespace(token_ids=tuple(answer))]))
        return found
