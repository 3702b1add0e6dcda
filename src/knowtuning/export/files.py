"""The files of an exported model: weights, generation config, the adapter alone, and what serves them."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from knowtuning.config.predict import PredictParams
from knowtuning.core.storage import read_json, write_json
from knowtuning.generation.vllm import rank_limit
from knowtuning.model.load import source_of
from knowtuning.model.prompt import Formatter
from knowtuning.training.adapters import CONFIG, WEIGHTS

CONVERTER = "convert_hf_to_gguf.py"


def merged(base: Path, adapter: Path) -> Any:
    """The base model with the adapter merged, in the type that the base model's own weights have.

    A base model of 4 bits (base.quantization) is taken in that type too: a merge into 4 bits would round.
    """
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    name, arguments = source_of(base)
    model = AutoModelForCausalLM.from_pretrained(
        name, dtype="auto", trust_remote_code=False, use_safetensors=True, **arguments
    )
    return PeftModel.from_pretrained(model, str(adapter)).merge_and_unload().eval()


def generation_config(formatter: Formatter, params: PredictParams) -> Any:
    """How `predict` makes answers, with every token that ends a turn."""
    from transformers import GenerationConfig

    return GenerationConfig(  # type: ignore[no-untyped-call]
        bos_token_id=formatter.tokenizer.bos_token_id,
        eos_token_id=list(formatter.ends),
        pad_token_id=formatter.tokenizer.pad_token_id,
        max_new_tokens=params.max_new_tokens,
        do_sample=params.temperature > 0,
        **(_sampling(params) if params.temperature else {}),
    )


def _sampling(params: PredictParams) -> dict[str, float]:
    return {"temperature": params.temperature, "top_p": params.top_p, "top_k": params.top_k or 0}


def copy_adapter(base: Path, adapter: Path, out: Path) -> None:
    """The adapter's two files, with the base model's name and commit in its configuration."""
    out.mkdir(parents=True)
    shutil.copyfile(adapter / WEIGHTS, out / WEIGHTS)
    name, arguments = source_of(base)
    revision = arguments.get("revision")
    source = {"base_model_name_or_path": name, "revision": revision}
    write_json(out / CONFIG, {**read_json(adapter / CONFIG), **source})


def gguf_command(out: Path, system: str, converter: str = f"llama.cpp/{CONVERTER}") -> list[str]:
    """llama.cpp's converter on an exported folder."""
    return ["python", converter, str(out), "--outfile", str(out / f"{system}.gguf")]


def commands(base: Path, out: Path, system: str, rank: int) -> list[tuple[str, str]]:
    """What serves the exported folder, and the command; rank: of the adapter."""
    name, arguments = source_of(base)
    revision = f" --revision {arguments['revision']}" if arguments else ""
    return [
        ("With transformers, as an OpenAI-compatible server (`pip install 'transformers[serving]'`)",
         f"transformers serve --port 8000 {out}"),
        ("With vLLM", f"vllm serve {out} --served-model-name {system}"),
        ("The adapter alone, beside its base model, with vLLM",
         f"vllm serve {name}{revision} --enable-lora --max-lora-rank {rank_limit(rank)} "
         f"--lora-modules {system}={out}/adapter --chat-template {out}/chat_template.jinja "
         f"--generation-config {out}"),
        ("As a GGUF file, by llama.cpp's converter", " ".join(gguf_command(out, system))),
        ("With Ollama, from that GGUF file", f"ollama create {system} -f {out}/Modelfile"),
    ]  # fmt: skip


def modelfile(formatter: Formatter, params: PredictParams, system: str) -> str:
    """Ollama's Modelfile: the prompt of a question, the ends of an answer, and how `predict` samples.

    The token that begins a sequence is in it unless the tokenizer, and so llama.cpp, puts that there itself.
    """
    tokenizer = formatter.tokenizer
    bos, prompt = tokenizer.bos_token or "", formatter.text("{{ .Prompt }}")
    prompt = prompt if formatter.template == "chat" else bos + prompt
    if bos and tokenizer("x")["input_ids"][0] == tokenizer.bos_token_id:
        prompt = prompt.removeprefix(bos)
    ends = [str(tokenizer.convert_ids_to_tokens(end)) for end in formatter.ends]
    return "\n".join(
        [
            f"FROM ./{system}.gguf",
            f'TEMPLATE """{prompt}"""',
            *(f'PARAMETER stop "{end}"' for end in ends),
            *(f"PARAMETER {name} {value}" for name, value in _sampling(params).items()),
            f"PARAMETER num_predict {params.max_new_tokens}",
            "",
        ]
    )
