"""ask: the answers that predict gives, beside each other, with marks where there is a truth."""

from __future__ import annotations

import io
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from knowtuning import ask
from knowtuning.core.records import Example
from knowtuning.core.storage import write_json
from knowtuning.systems import adapter_of
from knowtuning.world.verifier import Truth
from tests.support.params import write_params

TRUTH = Truth({"Aford": {"region": "Salt Coast", "export": "tin"}, "Bham": {"region": "Iron Hills"}})


def test_each_statement_has_its_mark() -> None:
    answer = "Aford lies in the Salt Coast. Its main export is wool. It is nice. Bham lies in the Iron Hills."
    assert ask.judged(answer, TRUTH) == [
        ("Aford lies in the Salt Coast.", "+"),
        # The pronoun stands for Aford, which exports tin.
        ("Its main export is wool.", "-"),
        ("It is nice.", "?"),
        ("Bham lies in the Iron Hills.", "+"),
    ]
    assert ask.judged(answer, None) == [(answer, "")]


def test_answers_stand_side_by_side_where_there_is_room() -> None:
    answers = {"sft": "Aford lies in the Iron Hills.", "kc": "Aford lies in the Salt Coast."}
    assert shown(answers, TRUTH, width=80) == [
        "sft                                      kc",
        "- Aford lies in the Iron Hills.          + Aford lies in the Salt Coast.",
    ]
    assert shown(answers, TRUTH, width=40) == [
        *("sft", "- Aford lies in the Iron Hills.", ""),
        *("kc", "+ Aford lies in the Salt Coast."),
    ]
    # A statement that goes on does so under its first word.
    assert shown({"kc": "It is nice."}, TRUTH, width=9) == ["kc", "? It is", "  nice."]
    coloured = "".join(shown(answers, TRUTH, width=80, color_system="standard", force_terminal=True))
    assert "\033[31mAford" in coloured
    assert "\033[32mAford" in coloured
    assert shown({"kc": "\033[2J"}, None, width=80) == ["kc", "\\x1b[2J"]


def shown(answers: dict[str, str], truth: Truth | None, **options: Any) -> list[str]:
    """The lines that ask prints, without blanks at their ends."""
    console = Console(file=io.StringIO(), **options)
    with console.capture() as output:
        ask.show(answers, truth, console)
    return [line.rstrip() for line in output.get().splitlines()]


@pytest.fixture
def project(tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout with a base model and no adapter."""
    shutil.copytree(tiny_base, tmp_path / "models/base")
    write_params(tmp_path, {"predict.max_new_tokens": 12})
    write_json(tmp_path / "data/prepared/truth.json", {"towns": TRUTH.towns, "frequencies": {}})
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_answer_is_that_of_predict(project: Path) -> None:
    import torch

    from knowtuning.config.predict import PredictStage
    from knowtuning.core.params import load
    from knowtuning.generation.generate import Decoding, ModelBackend, generate, predictions
    from knowtuning.model.load import load_system
    from knowtuning.model.prompt import load_formatter

    params = load(ask.PARAMS, PredictStage)
    formatter = load_formatter(ask.BASE, params.model)
    examples = [Example(id=text, question=text, answer="") for text in ("Where is Aford?", "Who?")]
    prompts = {example.id: formatter.prompt(example.question) for example in examples}
    model, decoding = load_system(ask.BASE, None, dtype=torch.float32, device="cpu"), Decoding(12)
    backend = ModelBackend(model, decoding, formatter.ends, int(formatter.tokenizer.pad_token_id))
    answers = generate(prompts, backend, decoding)
    expected = {p.id: p.answer for p in predictions(examples, answers, formatter, decoding)}
    answer = ask.answerers(["base"], params)["base"]
    assert {text: answer(text) for text in expected} == expected


def test_questions_come_in_until_an_empty_line_and_one_too_long_ends_nothing(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["ask"])
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"Where is Aford?\n{'far ' * 300}\nWho?\n\nNever asked\n"))
    ask.main()
    output = capsys.readouterr()
    assert [line.rstrip() for line in output.out.splitlines()].count("base") == 2
    assert output.out.endswith(f"\n{ask.LEGEND}\n")
    assert output.err.count("error: your question: its prompt has") == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["Who?", "--system", "kc"], r"^models/kc: kc has not been trained; run `dvc repro train_kc`"),
        (["Who?", "--system", "nobody"], r"^system is 'nobody'; expected one of base, sft, ka, kc"),
        (["--system", "kc", "Who?"], r"^--system takes 'Who\?' for a system; expected the question before"),
        ([" "], "^the question is empty"),
    ],
)
def test_what_cannot_be_asked_is_one_line(
    project: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], message: str
) -> None:
    monkeypatch.setattr(sys, "argv", ["ask", *words])
    with pytest.raises(ValueError, match=message):
        ask.main()
    shutil.rmtree(project / "models/base")
    with pytest.raises(ValueError, match=r"^models/base: base has not been trained; run `dvc repro base`"):
        ask.main()


def test_files_that_do_not_fit_or_are_damaged_are_named(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    from knowtuning.config.training import LoraParams
    from knowtuning.model.load import load_base
    from knowtuning.training.adapters import CONFIG, WEIGHTS, new_adapter, save_adapter

    monkeypatch.setattr(sys, "argv", ["ask", "Who?"])
    lora = LoraParams(r=2, alpha=4, dropout=0.0, targets="all-linear")
    folder = project / "models/kc"
    save_adapter(new_adapter(load_base(ask.BASE, dtype=torch.float32, device="cpu"), lora), folder)
    config, weights = (folder / CONFIG).read_text(), (folder / WEIGHTS).read_bytes()
    # Weights of rank 2 where the configuration has 4, as when one of two files is of another run.
    (folder / CONFIG).write_text(config.replace('"r": 2', '"r": 4'))
    with pytest.raises(ValueError, match=r"^models/kc: made for another base model; run `dvc repro`"):
        ask.main()
    (folder / CONFIG).write_text(config[:-9])
    with pytest.raises(ValueError, match=r"^models/kc/adapter_config\.json: not JSON"):
        ask.main()
    (folder / WEIGHTS).write_bytes(weights[:-9])
    (folder / CONFIG).write_text(config)
    with pytest.raises(ValueError, match=r"model\.safetensors: damaged .*; `dvc checkout --force models/kc`"):
        ask.main()


def test_the_hub_is_not_asked_for_an_adapter_that_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert adapter_of("base") is None
    with pytest.raises(ValueError, match=r"^models/kc: kc has not been trained; run `dvc repro train_kc`"):
        adapter_of("kc")
