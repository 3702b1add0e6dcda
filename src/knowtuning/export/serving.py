"""How other programs are told to serve an exported model: command lines and an Ollama Modelfile."""

from __future__ import annotations

from pathlib import Path

from knowtuning.config.predict import PredictParams
from knowtuning.model.load import source_of
from knowtuning.model.prompt import Formatter

CONVERTER = "convert_hf_to_gguf.py"


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
         f"vllm serve {name}{revision} --enable-lora --max-lora-rank {vllm_rank(rank)} "
         f"--lora-modules {system}={out}/adapter --chat-template {out}/chat_template.jinja "
         f"--generation-config {out}"),
        ("As a GGUF file, by llama.cpp's converter", " ".join(gguf_command(out, system))),
        ("With Ollama, from that GGUF file", f"ollama create {system} -f {out}/Modelfile"),
    ]  # fmt: skip


def vllm_rank(rank: int) -> int:
    """The least limit on ranks that vLLM takes and that lets an adapter of `rank` in."""
    return next((limit for limit in (8, 16, 32, 64, 128, 256, 320, 512) if limit >= rank), rank)


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
    sampling = {"temperature": params.temperature, "top_p": params.top_p, "top_k": params.top_k or 0}
    return "\n".join(
        [
            f"FROM ./{system}.gguf",
            f'TEMPLATE """{prompt}"""',
            *(f'PARAMETER stop "{end}"' for end in ends),
            *(f"PARAMETER {name} {value}" for name, value in sampling.items()),
            f"PARAMETER num_predict {params.max_new_tokens}",
            "",
        ]
    )
