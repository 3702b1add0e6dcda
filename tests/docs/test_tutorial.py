"""A newcomer's path: clone, `make repro`, ask, look, docs/tutorial.md from top to bottom, and a server."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest
from openai import OpenAI

from experiments.copies import set_params
from knowtuning.core.records import Pair, Prediction, read_jsonl
from tests.support.checkout import ROOT
from tests.support.commands import TINY, blocks, commands, project_copy, shell
from tests.support.servers import transformers_serve


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone of the project, with this environment in the place of .venv."""
    folder = tmp_path_factory.mktemp("newcomer")
    original = project_copy(folder / "original")
    shell(folder, f"git clone -q {original} clone")
    (folder / "clone/.venv").symlink_to(Path(sys.prefix))
    return folder / "clone"


@pytest.mark.slow
def test_two_commands_give_a_report_answers_and_a_look(clone: Path) -> None:
    set_params(clone / "params.yaml", TINY)
    # -o: the environment counts as installed.
    shell(clone, "make -o .venv/installed repro")
    assert (clone / "report/index.html").exists()
    typed = [text for text in commands(ROOT / "README.md") if re.search("knowtuning.(ask|look)", text)]
    assert len(typed) == 2
    answers, pairs = (shell(clone, command) for command in typed)
    assert all(re.search(rf"\b{system}\b", answers) for system in ("base", "sft", "ka", "kc"))
    assert "data/knowledge/pairs.jsonl: 5 of" in pairs
    # DVC puts dvc.lock into the index.
    assert "clean" in shell(clone, "git reset -q --hard && git status")


@pytest.mark.slow
def test_the_tutorial_ends_in_an_adapter_and_in_answers_from_a_server(clone: Path) -> None:
    printed = "".join(shell(clone, text) for text in blocks(ROOT / "docs/tutorial.md"))
    assert "planets" in printed
    assert "data/knowledge/pairs.jsonl: 3 of" in printed
    assert "3 questions" in (clone / "metrics/table.txt").read_text()
    assert (clone / "models/kc/adapter_model.safetensors").exists()
    # Sixteen rows: two for valid, three for test, the rest for training.
    counts = json.loads((clone / "metrics/data.json").read_text())
    assert [counts[split]["kept"] for split in ("train", "valid", "test")] == [11, 2, 3]
    pairs = read_jsonl(clone / "data/knowledge/pairs.jsonl", Pair)
    assert {pair.aspect for pair in pairs} == {"completeness", "factuality", "logicality"}
    changed = {line.split()[-1] for line in shell(clone, "git status --short").splitlines()}
    assert all(re.match(r"params\.yaml|dvc\.lock|metrics/|plots/|report/", path) for path in changed), changed

    pytest.importorskip("fastapi")
    predictions = read_jsonl(clone / "data/predictions/kc.jsonl", Prediction)
    assert len(predictions) == 3
    model = str(clone / "export/kc")
    with transformers_serve(clone / "server.log", model) as url:
        client = OpenAI(base_url=url, api_key="none")
        for each in predictions:
            reply = client.chat.completions.create(
                model=model, messages=[{"role": "user", "content": each.question}], max_tokens=48
            )
            assert str(reply.choices[0].message.content).strip() == each.answer
