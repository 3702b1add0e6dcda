"""docs/extend.md: its examples apply, touch what they say, and run in a copy of the project."""

from __future__ import annotations

import importlib
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.copies import copy_tracked, set_params
from knowtuning.config.schema import check
from knowtuning.systems import ON_REQUEST, ON_SAMPLES
from tests.support.checkout import ROOT
from tests.support.commands import TINY
from tests.support.forks import run_module
from tests.support.shell import run

PAGE = (ROOT / "docs/extend.md").read_text(encoding="utf-8")
# Heading -> the change below it.
EXAMPLES: dict[str, str] = dict(
    re.findall(r"^## (.+?)\n.*?```diff\n(.*?)```", PAGE, re.DOTALL | re.MULTILINE)
)
SOURCE = "src/knowtuning/"
# What may change besides the entry: its parameters, and of a baseline its pairs and its stage.
TOUCHED = {
    "An aspect": {f"{SOURCE}knowledge/aspects.py", "params.yaml"},
    "A metric": {f"{SOURCE}evaluation/metrics.py"},
    "A loss": {f"{SOURCE}training/losses.py", "params.yaml"},
    "A teacher": {f"{SOURCE}teacher/teachers.py", "params.yaml"},
    "A baseline": {f"{SOURCE}systems.py", "stages/pairs_length.py", "dvc.yaml", "params.yaml"},
    "A data source": {f"{SOURCE}data/sources.py", "params.yaml"},
}
NAMES = {
    "An aspect": "brevity",
    "A metric": "repeated_words",
    "A loss": "hinge",
    "A teacher": "sentences",
    "A baseline": "length",
    "A data source": "folder",
}
SHAPE = {"vocab": 400, "hidden": 32, "layers": 2, "heads": 2}
SMALL = TINY | {f"base.scratch.{key}": value for key, value in SHAPE.items()}


def copy(folder: Path) -> None:
    copy_tracked(folder)
    run(folder, "git", "init", "-q")


def add(folder: Path, example: str, *options: str) -> None:
    subprocess.run(
        ["git", "apply", *options, "-"], cwd=folder, input=EXAMPLES[example], text=True, check=True
    )


def test_every_table_has_its_example() -> None:
    assert list(EXAMPLES) == list(TOUCHED)


@pytest.mark.parametrize("example", TOUCHED)
def test_an_example_touches_few_files_and_its_name_is_known(tmp_path: Path, example: str) -> None:
    files = set(re.findall(r"^diff --git a/(\S+)", EXAMPLES[example], re.MULTILINE))
    assert files == TOUCHED[example]
    copy(tmp_path)
    add(tmp_path, example)
    # As `make check` does: a name that the module does not have any more is an error there alone.
    scripts = [name for name in files if name.endswith(".py")]
    run(tmp_path, sys.executable, "-m", "ruff", "check", "-q", *scripts)
    code = {"PYTHONPATH": f"{tmp_path}/src:{tmp_path}"}
    checked = run_module(tmp_path, "knowtuning.config.schema", "params.yaml", **code)
    assert (checked.returncode, checked.stderr) == (0, "")
    written = run_module(tmp_path, "knowtuning.reference", **code)
    assert written.returncode == 0, written.stderr
    assert f"`{NAMES[example]}`" in (tmp_path / "docs/tables.md").read_text(encoding="utf-8")


def test_a_name_that_is_in_no_table_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = Path("params.yaml")
    baselines = ", ".join(ON_REQUEST)
    for key, value, expected in (
        ("perturb.aspects", ["brevity"], "expected some of completeness, factuality, logicality, each once"),
        ("train_kc.loss", "hinge", "expected one of dpo, dpo_mean, ipo"),
        ("teacher.backend", "sentences", "expected one of world, english, openai"),
        ("judge.backend", "english", "expected one of exact, openai, none"),
        (
            "judge.pairs",
            [["kc", "length"]],
            f"expected pairs of base, sft, ka, kc, {baselines}: look at [kc, length]",
        ),
        ("baselines", ["length"], f"expected some of {', '.join(ON_SAMPLES)}, each once"),
        ("prepare.source", "folder", "expected one of world, file, medquad_xml, hub"),
    ):
        path.write_text((ROOT / "params.yaml").read_text(encoding="utf-8"), encoding="utf-8")
        set_params(path, {key: value})
        with pytest.raises(ValueError, match=rf"^params\.yaml: {key} is ") as error:
            check(path)
        assert str(error.value) == f"params.yaml: {key} is {value!r}; {expected}"
    for stage, expected in (
        ("train", f"sft, ka, kc, {baselines}"),
        ("predict", f"base, sft, ka, kc, {baselines}"),
    ):
        monkeypatch.setattr(sys, "argv", [stage, "length"])
        with pytest.raises(ValueError, match=rf"^system is 'length'; expected one of {expected}$"):
            importlib.import_module(f"stages.{stage}").main()


@pytest.mark.slow
def test_the_examples_run(tmp_path: Path) -> None:
    copy(tmp_path)
    for example in TOUCHED:
        if example != "A data source":
            add(tmp_path, example)
    lengths = {f"train_length.{key}": SMALL[f"train_kc.{key}"] for key in ("epochs", "eval_rows")}
    set_params(tmp_path / "params.yaml", SMALL | lengths)
    repro(tmp_path)
    text = (tmp_path / "metrics/table.txt").read_text(encoding="utf-8")
    for name in ("kc-sft brevity", "repeated_words", "length"):
        assert name in text
    page = (tmp_path / "report/index.html").read_text(encoding="utf-8")
    for name in ("brevity", "Repeated words", "a control", "<code>hinge</code>", "<code>sentences</code>"):
        assert name in page
    systems = json.loads((tmp_path / "metrics/systems.json").read_text(encoding="utf-8"))
    assert "repeated_words" in systems["length"]["overall"]
    assert json.loads((tmp_path / "metrics/perturb.json").read_text(encoding="utf-8"))["pairs"]["brevity"] > 0

    # Its lines of params.yaml are for the file as it stands; here other examples have changed it.
    add(tmp_path, "A data source", "--exclude=params.yaml")
    questions = tmp_path / "data/raw/questions"
    questions.mkdir()
    for number in range(30):
        town = f"Salton {number}"
        text = (
            f"Tell me about {town}.\n{town} is a market town in the hills. {town} has {number + 7} bridges.\n"
        )
        (questions / f"{number:02}.txt").write_text(text, encoding="utf-8")
    source = {"prepare.source": "folder", "teacher.backend": "english"}
    set_params(tmp_path / "params.yaml", source | {"prepare.split.valid": 5, "prepare.split.test": 5})
    repro(tmp_path)
    page = (tmp_path / "report/index.html").read_text(encoding="utf-8")
    assert "<code>folder</code>" in page
    assert "Tell me about Salton" in page


def repro(folder: Path) -> None:
    """`dvc repro`, without a word of progress."""
    if not (folder / ".dvc/tmp").exists():
        run(folder, "git", "commit", "-qm", "x", "--allow-empty")
    run(folder, "dvc", "repro", "-q", TQDM_DISABLE="1", DVC_ROOT=str(folder))
