"""docs/tutorial.md typed from top to bottom in a copy of the project."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from knowtuning.core.records import Pair, Prediction, read_jsonl
from tests.support.checkout import ROOT
from tests.support.commands import blocks, project_copy, shell


@pytest.mark.slow
def test_the_tutorial_ends_in_an_adapter(tmp_path: Path) -> None:
    project = project_copy(tmp_path / "project")
    said = ""
    for text in blocks(ROOT / "docs/tutorial.md"):
        said += shell(project, text)
    assert "3 questions" in (project / "metrics/table.txt").read_text()
    assert {path.name for path in (project / "models/kc").iterdir()} >= {
        "adapter_config.json",
        "adapter_model.safetensors",
    }
    # Sixteen rows: two for valid, three for test, the rest for training.
    counts = json.loads((project / "metrics/data.json").read_text())
    assert [counts[split]["kept"] for split in ("train", "valid", "test")] == [11, 2, 3]
    assert len(read_jsonl(project / "data/predictions/kc.jsonl", Prediction)) == 3
    pairs = read_jsonl(project / "data/knowledge/pairs.jsonl", Pair)
    assert {pair.aspect for pair in pairs} == {"completeness", "factuality", "logicality"}
    listed = shell(project, "git status --short")
    changed = {line.split()[-1] for line in listed.splitlines()}
    assert all(re.match(r"params\.yaml|dvc\.lock|metrics/|plots/|report/", path) for path in changed), changed
    assert "planets" in said
    assert "data/knowledge/pairs.jsonl: 3 of" in said
    assert (project / "export/kc/model.safetensors").exists()
