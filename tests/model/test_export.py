"""An exported system, loaded as other programs load it, answers as it does here."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from experiments.copies import set_params
from knowtuning.core.params import PromptParams
from knowtuning.core.records import Example, write_jsonl
from knowtuning.core.storage import write_json
from knowtuning.data.chat import exchange
from knowtuning.export.chat_template import chat_template, with_template
from knowtuning.export.files import modelfile
from knowtuning.generation.generate import Decoding, ModelBackend, generate
from knowtuning.model.load import load_system, load_tokenizer
from knowtuning.model.prompt import Formatter, load_formatter
from knowtuning.training.adapters import saved_hash
from stages import export
from tests.support.checkout import ROOT
from tests.support.params import write_params
from tests.support.servers import needs_serving, transformers_serve

QUESTIONS = ["Where does Aford lie?", "What is the main export of Bham?\nAnd of Cwick?", "  Who?  "]
LIMIT = 24


@pytest.fixture
def project(tiny_base: Path, ka: Path, tmp_path: Path) -> Path:
    """A checkout in which `ka` is trained and evaluated, of a random model."""
    shutil.copytree(tiny_base, tmp_path / "models/base")
    shutil.copytree(ka, tmp_path / "models/ka")
    shutil.copytree(ROOT / "metrics", tmp_path / "metrics")
    write_json(tmp_path / "metrics/train_ka.json", {"train_rows": 7, "adapter_sha256": saved_hash(ka)})
    (tmp_path / "plots").mkdir()
    shutil.copy2(ROOT / "plots/groups.csv", tmp_path / "plots")
    write_params(tmp_path, {"predict.max_new_tokens": LIMIT})
    examples = [Example(id=str(n), question=text, answer="x") for n, text in enumerate(QUESTIONS)]
    write_jsonl(tmp_path / "data/prepared/train.jsonl", examples)
    return tmp_path


@pytest.fixture
def export_ka(project: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Runs `python -m stages.export ka` with these parameters changed."""

    def run(**changes: Any) -> Path:
        set_params(project / "params.yaml", {key.replace("__", "."): value for key, value in changes.items()})
        monkeypatch.chdir(project)
        monkeypatch.setattr(sys, "argv", ["export", "ka"])
        export.main()
        return project / "export/ka"

    return run


def predicted(project: Path, template: Any) -> tuple[Formatter, dict[str, list[int]]]:
    """The tokens that predict makes of each question."""
    import torch

    formatter = load_formatter(project / "models/base", PromptParams(template=template, template_args={}))
    model = load_system(project / "models/base", project / "models/ka", dtype=torch.float32, device="cpu")
    decoding = Decoding(max_new_tokens=LIMIT)
    backend = ModelBackend(model, decoding, formatter.ends, int(formatter.tokenizer.pad_token_id))
    prompts = {text: formatter.prompt(text) for text in QUESTIONS}
    return formatter, {text: tokens for text, [tokens] in generate(prompts, backend, decoding).items()}


@pytest.mark.parametrize("template", ["bare", "plain", "alpaca"])
def test_loaded_fresh_it_gives_the_tokens_of_predict(
    project: Path, export_ka: Callable[..., Path], template: str
) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = export_ka(model__template=template)
    formatter, expected = predicted(project, template)
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    for text in QUESTIONS:
        turns = [{"role": "user", "content": text}]
        prompt = tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_tensors="pt")
        assert prompt["input_ids"][0].tolist() == formatter.prompt(text)
        made = model.generate(**prompt)[0, prompt["input_ids"].shape[1] :].tolist()
        assert [token for token in made if token not in formatter.ends] == expected[text]
    assert len({tuple(tokens) for tokens in expected.values()}) > 1


@pytest.mark.slow
@needs_serving
def test_a_server_gives_the_answers_of_predict(project: Path, export_ka: Callable[..., Path]) -> None:
    from openai import OpenAI

    folder = export_ka(model__template="plain")
    formatter, expected = predicted(project, "plain")
    with transformers_serve(project / "server.log", str(folder)) as url:
        client = OpenAI(base_url=url, api_key="none")
        for text in QUESTIONS:
            output = client.chat.completions.create(
                model=str(folder), messages=[{"role": "user", "content": text}], max_tokens=LIMIT
            )
            assert str(output.choices[0].message.content).strip() == formatter.decode(expected[text])


CHATML = (
    "{{ strftime_now('%Y') }}{% if enable_thinking %}<t>{% endif %}{% for m in messages %}"
    "<|{{ m.role }}|>{{ m.content }}</s>{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def test_a_chat_template_of_the_tokenizer_keeps_its_variables_and_no_clock(tiny_base: Path) -> None:
    tokenizer = load_tokenizer(tiny_base)
    tokenizer.chat_template = CHATML
    formatter = Formatter(tokenizer, "chat", {"enable_thinking": True})
    expected = formatter.text("Who?")
    # Outer white space and spelt control tokens are what no template can treat as the formatter does.
    with_template(formatter, ["Who?", "  Who\n  else? ", "What is </s>?"])
    turns = [{"role": "user", "content": "Who?"}]
    text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    assert text == expected == "2024<t><|user|>Who?</s><|assistant|>"
    other = {"tokenize": False, "add_generation_prompt": True, "enable_thinking": False}
    assert "<t>" not in tokenizer.apply_chat_template(turns, **other)


def test_what_a_template_writes_before_an_answer_ends_the_exported_prompt(tiny_base: Path) -> None:
    tokenizer = load_tokenizer(tiny_base)
    tokenizer.chat_template = (
        "{% for m in messages %}{{ m.role }}: {% if m.role == 'assistant' %}<t></t>\n{% endif %}"
        "{{ m.content }}\n{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}\n"
    )
    formatter = Formatter(tokenizer, "chat", {})
    made = with_template(formatter, ["Who?"])
    turns = [{"role": "user", "content": "Who?"}]
    prompt = made.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
    assert prompt == formatter.text("Who?") == "user: Who?\nassistant: <t></t>\n"
    assert made.apply_chat_template(turns, tokenize=False) == "user: Who?\n"


def test_a_tokenizer_that_puts_a_space_before_texts_gets_one_behind_its_first_token() -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = {word: n for n, word in enumerate(["<unk>", "<s>", "</s>", "▁Who", "Who", "▁is", "▁it?"])}
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner, unk_token="<unk>", bos_token="<s>", eos_token="</s>"
    )
    formatter = Formatter(tokenizer, "bare", {})
    assert formatter.prompt("Who is it?") == [1, 3, 5, 6]
    made = with_template(formatter, ["Who is it?"])
    turns = [{"role": "user", "content": "Who is it?"}]
    assert made.apply_chat_template(turns, return_dict=False) == [1, 3, 5, 6]


def test_several_turns_become_the_question_that_prepare_makes_of_them(tiny_base: Path) -> None:
    formatter = load_formatter(tiny_base, PromptParams(template="alpaca", template_args={}))
    formatter.tokenizer.chat_template = chat_template(formatter)
    turns = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Where is Aford?"},
        {"role": "assistant", "content": "In the Salt Coast."},
        {"role": "user", "content": "And Bham?"},
    ]
    for first in (0, 1):
        text = formatter.tokenizer.apply_chat_template(turns[first:], tokenize=False)
        assert text == "<s>" + formatter.text(exchange(turns[first:]).asked)
    answered = formatter.tokenizer.apply_chat_template(turns[1:3], tokenize=False)
    assert answered == f"<s>{formatter.text('Where is Aford?')}In the Salt Coast.</s>"


@pytest.mark.parametrize("adds", [False, True])
def test_ollama_gets_one_token_that_begins_a_sequence(tiny_base: Path, adds: bool) -> None:
    from tokenizers.processors import TemplateProcessing

    tokenizer: Any = load_tokenizer(tiny_base)
    tokenizer.chat_template = "<s>{{ messages[0].content }}{{ messages[1].content if messages[1:] }}"
    single = "<s> $A" if adds else "$A"
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single=single, special_tokens=[("<s>", 0)]
    )
    params: Any = SimpleNamespace(temperature=0.0, top_p=1.0, top_k=None, max_new_tokens=9)
    for template in ("chat", "bare"):
        text = modelfile(Formatter(tokenizer, template, {}), params, "kc")  # type: ignore[arg-type]
        assert f'TEMPLATE """{"" if adds else "<s>"}{{{{ .Prompt }}}}"""' in text


def test_the_card_is_filled_from_the_run(project: Path, export_ka: Callable[..., Path]) -> None:
    pin = {"source": "hub", "id": "someone/model", "commit": "a" * 40}
    write_json(project / "metrics/base.json", pin)
    folder = export_ka(model__template="alpaca")
    card = (folder / "README.md").read_text(encoding="utf-8")
    differences = json.loads((ROOT / "metrics/differences.json").read_text())["ka"]["overall"]["correct"]
    shown = "{mean:+.2f} [{low:+.2f}, {high:+.2f}]".format(**differences)
    for part in (
        f"[someone/model](https://huggingface.co/someone/model) at commit `{'a' * 40}`",
        "base_model: someone/model",
        "license:  # yours to choose",
        "- `ka`, knowledge augmentation: a new LoRA adapter; 7 rows of",
        "300 questions with their answers",
        shown,
        "    ### Instruction:\n    QUESTION\n",
        "--max-lora-rank 8 --lora-modules ka=export/ka/adapter",
    ):
        assert part in card
    modelfile = (folder / "Modelfile").read_text(encoding="utf-8")
    assert '### Instruction:\n{{ .Prompt }}\n\n### Response:\n"""\n' in modelfile
    assert 'PARAMETER stop "</s>"' in modelfile
    assert not (folder / "params.yaml").exists()
    # Before evaluate there is nothing to show.
    (project / "plots/groups.csv").unlink()
    assert "Not evaluated yet" in (export_ka() / "README.md").read_text(encoding="utf-8")


def test_the_adapter_alone_is_that_of_the_run_and_names_its_base_model(
    project: Path, ka: Path, export_ka: Callable[..., Path]
) -> None:
    adapter = export_ka() / "adapter"
    assert saved_hash(adapter) == saved_hash(ka)
    assert (
        json.loads((adapter / "adapter_config.json").read_text())["base_model_name_or_path"] == "models/base"
    )


def test_every_end_of_a_turn_is_in_the_generation_config(
    project: Path, export_ka: Callable[..., Path]
) -> None:
    config = project / "models/base/generation_config.json"
    write_json(config, {**json.loads(config.read_text()), "eos_token_id": [1, 5]})
    sampled = json.loads((export_ka(predict__temperature=0.7, predict__top_k=9) / config.name).read_text())
    assert sorted(sampled["eos_token_id"]) == [1, 5]
    assert (sampled["do_sample"], sampled["temperature"], sampled["top_k"]) == (True, 0.7, 9)


def test_a_converter_on_the_path_makes_a_gguf_file(
    export_ka: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    export_ka()
    command = "python llama.cpp/convert_hf_to_gguf.py export/ka --outfile export/ka/ka.gguf"
    assert command in capsys.readouterr().out
    programs = tmp_path / "programs"
    programs.mkdir()
    converter = programs / "convert_hf_to_gguf.py"
    converter.write_text("import sys\nopen(sys.argv[3], 'w').write(' '.join(sys.argv[1:3]))\n")
    converter.chmod(0o755)
    monkeypatch.setenv("PATH", str(programs), prepend=os.pathsep)
    assert (export_ka() / "ka.gguf").read_text() == "export/ka --outfile"
    converter.write_text("raise SystemExit('Model is not supported')\n")
    with pytest.raises(ValueError, match=r"failed \(Model is not supported\); all other files of export/ka"):
        export_ka()


@pytest.mark.parametrize(
    ("system", "message"),
    [
        ("nobody", r"^system is 'nobody'; expected one of sft, ka, kc"),
        ("base", r"^system is 'base'; expected one of sft, ka, kc"),
        ("kc", r"^models/kc: kc has not been trained; run `dvc repro train_kc`, or `dvc pull`$"),
        ("rlaif", r"^models/rlaif: .* name it in `baselines` of params\.yaml and run `dvc repro`"),
        ("kg", r"^models/kg: .* set `first_version: \[kg\]` in params\.yaml and run `dvc repro`"),
    ],
)
def test_a_system_that_is_not_there_is_one_line(
    project: Path, monkeypatch: pytest.MonkeyPatch, system: str, message: str
) -> None:
    monkeypatch.chdir(project)
    monkeypatch.setattr(sys, "argv", ["export", system])
    with pytest.raises(ValueError, match=message):
        export.main()


def test_a_card_cannot_tell_of_another_adapter(project: Path, export_ka: Callable[..., Path]) -> None:
    write_json(project / "metrics/train_ka.json", {"adapter_sha256": "0" * 64})
    with pytest.raises(ValueError, match=r"metrics/train_ka\.json tells of 000000000000…; run `dvc repro`"):
        export_ka()
    assert not (project / "export").exists()
