"""Stages that only read and write text start without the machine-learning libraries."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.support.checkout import PROMPTS, ROOT, run_python
from tests.support.params import write_params

STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
HEAVY = ("torch", "transformers", "datasets", "pandas", "pyarrow", "sklearn", "evaluate", "openai")
# Small inputs of every stage; the stages run in this order and read what the ones before wrote.
SCORED = (
    '{"id": "a", "question": "Where is Paris?", "answer": "Paris lies in France. It was founded in 1250.", '
    '"facts": [{"text": "Paris lies in France.", "logps": -2.0, "tokens": 2, "ppl": 2.7}, '
    '{"text": "Paris was founded in 1250.", "logps": -9.0, "tokens": 3, "ppl": 20.1}]}\n'
)
RUN = """
import sys
from stages.{stage} import main
main()
print("heavy:", *[name for name in {heavy} if name in sys.modules])
"""


def last_line(folder: Path, stage: str) -> str:
    """What a stage's process prints last: the heavy libraries it has imported when its work is done."""
    done = run_python(folder, "-c", RUN.format(stage=stage, heavy=HEAVY), DVC_ROOT=str(folder))
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with the shipped params, but for the english teacher on a file of its own."""
    rows = "".join(f'{{"q": "Where is town {n}?", "a": "Town {n} has 4{n} wells."}}\n' for n in range(5))
    (tmp_path / "data/raw").mkdir(parents=True)
    (tmp_path / "data/raw/rows.jsonl").write_text(rows)
    changes = {"source": "file", "split": {"valid": 1, "test": 1}, "file.train": "data/raw/rows.jsonl"}
    changes |= {"file.columns": {"question": "q", "context": None, "answer": "a"}}
    section = {f"prepare.{key}": value for key, value in changes.items()}
    write_params(tmp_path, {"teacher.backend": "english", **section})
    (tmp_path / "prompts").symlink_to(PROMPTS)
    knowledge = tmp_path / "data/knowledge"
    knowledge.mkdir(parents=True)
    (knowledge / "scored_facts.jsonl").write_text(SCORED)
    return tmp_path


def test_text_stages_load_no_heavy_library_and_write_all_that_they_declare(project: Path) -> None:
    for stage in ("prepare", "extract", "rewrite", "perturb"):
        assert (stage, last_line(project, stage)) == (stage, "heavy:")
        declared = [
            *STAGES[stage]["outs"],
            *(path for metrics in STAGES[stage]["metrics"] for path in metrics),
        ]
        assert [path for path in declared if not (project / path).exists()] == []
