"""A change of one row costs the teacher calls of one row: stages on a whole file, at a real server."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from knowtuning.core.records import Facts, read_jsonl, write_jsonl
from tests.support.checkout import PROMPTS, ROOT
from tests.support.fault_server import FaultServer
from tests.support.forks import run_stage
from tests.support.openai_setup import KEY
from tests.support.params import write_params
from tests.support.records import scored_facts

ROWS = 400


def write_rows(folder: Path, changed: int | None = None) -> None:
    """ROWS questions; the answer of one of them in another wording."""
    lines = []
    for row in range(ROWS):
        year = 1100 + row if row != changed else 999
        answer = f"It lies in the north. It was founded in {year}."
        lines.append(json.dumps({"question": f"Where is town number {row}?", "answer": answer}))
    (folder / "data/raw/mine.jsonl").write_text("\n".join(lines) + "\n")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "dvc.yaml").write_bytes((ROOT / "dvc.yaml").read_bytes())
    (tmp_path / "prompts").symlink_to(PROMPTS)
    (tmp_path / "data/raw").mkdir(parents=True)
    return tmp_path


def calls(project: Path, server: FaultServer, *stages: str) -> int:
    """Chat completions that the stages ask for."""
    before = len(server.calls)
    for stage in stages:
        done = run_stage(project, stage, OPENAI_API_KEY=KEY, TQDM_DISABLE="1")
        assert done.returncode == 0, done.stderr
    return len(server.calls) - before


def score(project: Path) -> None:
    """Stands in for the stage, which needs no teacher: later facts are harder."""
    records = read_jsonl(project / "data/knowledge/facts.jsonl", Facts)
    rows = [
        scored_facts(each.id, [2.0 + n for n, _ in enumerate(each.facts)], texts=each.facts).model_copy(
            update={"question": each.question, "answer": each.answer}
        )
        for each in records
    ]
    write_jsonl(project / "data/knowledge/scored_facts.jsonl", rows)


@pytest.mark.slow
def test_one_changed_row_costs_the_calls_of_one_row(project: Path) -> None:
    write_rows(project)
    for split in ("valid", "test"):
        row = {"question": f"Who is in {split}?", "answer": "Nobody at all."}
        (project / f"data/raw/{split}.jsonl").write_text(json.dumps(row) + "\n")
    with FaultServer() as server:
        changes = {
            "prepare.source": "file",
            "prepare.file.train": "data/raw/mine.jsonl",
            "prepare.file.valid": "data/raw/valid.jsonl",
            "prepare.file.test": "data/raw/test.jsonl",
            "prepare.file.columns": {"question": "question", "context": None, "answer": "answer", "id": None},
            "teacher.backend": "openai",
            "teacher.model": "stub",
            "teacher.base_url": server.url,
            # The server's replies have nothing of the rows.
            "extract.min_covered": 0.0,
            "extract.max_foreign": 1.0,
            "rewrite.min_stated": 0.0,
        }
        write_params(project, changes)
        # One call splits one answer; every question costs the other stages as many calls as any other.
        assert calls(project, server, "prepare", "extract") == ROWS
        score(project)
        later = [calls(project, server, stage) for stage in ("rewrite", "perturb")]
        assert all(count > 0 and count % ROWS == 0 for count in later)
        write_rows(project, changed=17)
        assert calls(project, server, "prepare", "extract") == 1
        score(project)
        assert [calls(project, server, stage) for stage in ("rewrite", "perturb")] == [
            count // ROWS for count in later
        ]
        assert calls(project, server, "prepare", "extract", "rewrite", "perturb") == 0
