"""The four stages as a user runs them: one command each, in a folder with params.yaml and data."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_models import unigram_model, word_tokenizer

from knowtuning.core.records import Atoms, Example, Preference, Rewrite, Scored, read_jsonl, write_jsonl

ROOT = Path(__file__).resolve().parents[2]
PARAMS = """
seed: 1
model: {template: plain, template_args: {}, max_length: 64}
teacher: {backend: rules, model: none, base_url: null, temperature: null, top_p: null, max_tokens: 64,
  seed: null}
extract: {max_rejected: 0.02}
score: {dtype: auto, max_rejected: 0.02}
rewrite: {alpha: 0.5, max_rejected: 0.02}
perturb: {style: matched, completeness: true, factuality: true, logicality: true, beta_delete: 0.5,
  max_rejected: 0.02}
"""
ANSWERS = {
    "a": ("Where is Paris?", "Paris lies in France. It was founded in 1250. The city exports wine."),
    "b": ("Where is Rome?", "Rome lies in Italy. It was founded in 1340."),
}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "params.yaml").write_text(PARAMS)
    examples = [Example(id=name, question=q, answer=a) for name, (q, a) in ANSWERS.items()]
    write_jsonl(tmp_path / "data/prepared/train.jsonl", examples)
    words = sorted({word for _, text in ANSWERS.values() for word in text.replace(".", " .").split()})
    unigram_model({3: 2.0}, size=len(words) + 3).save_pretrained(tmp_path / "models/base")
    word_tokenizer(words).save_pretrained(tmp_path / "models/base")
    (tmp_path / "prompts").symlink_to(ROOT / "prompts")
    return tmp_path


def stage(project: Path, name: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "KNOWTUNING_DEVICE": "cpu", "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, "-m", f"stages.{name}"], cwd=project, env=environment, capture_output=True, text=True
    )


@pytest.mark.slow
def test_the_stages_run_and_run_again_to_the_same_bytes(project: Path) -> None:
    def run_all() -> dict[str, str]:
        for name in ("extract", "score", "rewrite", "perturb"):
            done = stage(project, name)
            assert done.returncode == 0, done.stderr
            assert done.stdout.startswith(f"{name}: ")
        outputs = [*project.glob("data/knowledge/**/*"), *project.glob("metrics/*")]
        return {path.name: path.read_text() for path in outputs if path.is_file()}

    first = run_all()
    assert set(first) == {
        *(f"{name}{end}.jsonl" for name in ("atoms", "scored", "ka", "kc") for end in ("", ".rejected")),
        *(f"{name}.json" for name in ("extract", "score", "rewrite", "perturb")),
        # What an LLM answered: here nothing.
        *(f"{name}.jsonl" for name in ("extract", "rewrite", "perturb")),
    }
    assert run_all() == first
    knowledge = project / "data/knowledge"
    atoms = read_jsonl(knowledge / "atoms.jsonl", Atoms)
    assert [len(row.facts) for row in atoms] == [3, 2]
    assert [[fact.text for fact in row.facts] for row in read_jsonl(knowledge / "scored.jsonl", Scored)] == [
        row.facts for row in atoms
    ]
    # ceil(0.5 * 3) = 2 and ceil(0.5 * 2) = 1 difficult facts; three aspects of two records.
    assert [len(row.facts) for row in read_jsonl(knowledge / "ka.jsonl", Rewrite)] == [2, 1]
    assert len(read_jsonl(knowledge / "kc.jsonl", Preference)) == 6
    metrics = json.loads(first["score.json"])
    assert (metrics["dtype"], metrics["facts"]) == ("float32", 5)


def test_too_many_rejected_rows_fail_the_stage_in_one_line(project: Path) -> None:
    # A full stop alone is no fact.
    write_jsonl(project / "data/prepared/train.jsonl", [Example(id="x", question="Q?", answer=".")])
    done = stage(project, "extract")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(
        "error: 1 of 1 rows were rejected, extract.max_rejected allows 0.02 of them; see the reasons in "
        "data/knowledge/atoms.rejected.jsonl"
    )
    assert (project / "data/knowledge/atoms.rejected.jsonl").read_text().count("\n") == 1
