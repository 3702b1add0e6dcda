"""The four stages as a user runs them: one command each, in a folder with params.yaml and data."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from knowtuning.core.records import Example, Facts, Pair, Rewrite, ScoredFacts, read_jsonl, write_jsonl
from tests.support.checkout import PROMPTS
from tests.support.forks import run_stage
from tests.support.tiny_models import unigram_model, word_tokenizer

PARAMS = """
seed: 1
model: {template: plain, template_args: {}, max_length: 64}
teacher: {backend: english, model: none, base_url: null, temperature: null, top_p: null, max_tokens: 64,
  seed: null, extra: {}}
extract: {min_covered: 0.3, max_foreign: 0.5, max_rejected: 0.02}
score: {dtype: auto, max_rejected: 0.02}
rewrite: {alpha: 0.5, select: hardest, min_stated: 0.4, max_rejected: 0.02}
perturb: {aspects: [completeness, factuality, logicality], style: matched, beta_delete: 0.5, fill: none,
  revise: teacher, revise_share: 1.0, offset: 0.0, max_growth: 1.5, audit_folds: 5,
  max_given_away: 0.65, max_rejected: 0.02}
"""
ANSWERS = {
    "a": ("Where is Paris?", "Paris lies in France. It was founded in 1250. Paris exports wine."),
    "b": ("Where is Rome?", "Rome lies in Italy. It was founded in 1340."),
}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "params.yaml").write_text(PARAMS)
    examples = [Example(id=name, question=q, answer=a) for name, (q, a) in ANSWERS.items()]
    write_jsonl(tmp_path / "data/prepared/train.jsonl", examples)
    (tmp_path / "data/prepared/truth.json").write_text('{"towns": {}}')
    words = sorted({word for _, text in ANSWERS.values() for word in text.replace(".", " .").split()})
    unigram_model({3: 2.0}, size=len(words) + 3).save_pretrained(tmp_path / "models/base")
    word_tokenizer(words).save_pretrained(tmp_path / "models/base")
    (tmp_path / "prompts").symlink_to(PROMPTS)
    return tmp_path


def stage(project: Path, name: str) -> subprocess.CompletedProcess[str]:
    return run_stage(project, name, KNOWTUNING_DEVICE="cpu", OMP_NUM_THREADS="1")


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
        *(
            f"{name}{end}.jsonl"
            for name in ("facts", "scored_facts", "rewrites", "pairs")
            for end in ("", ".rejected")
        ),
        *(f"{name}.json" for name in ("extract", "score", "rewrite", "perturb", "audit")),
        # What an LLM answered: here nothing.
        *(f"{name}.jsonl" for name in ("extract", "rewrite", "perturb")),
    }
    assert run_all() == first
    knowledge = project / "data/knowledge"
    atoms = read_jsonl(knowledge / "facts.jsonl", Facts)
    assert [len(row.facts) for row in atoms] == [3, 2]
    assert [
        [fact.text for fact in row.facts] for row in read_jsonl(knowledge / "scored_facts.jsonl", ScoredFacts)
    ] == [row.facts for row in atoms]
    # ceil(0.5 * 3) = 2 and ceil(0.5 * 2) = 1 difficult facts; completeness and factuality of two records, of
    # which nothing says that their order matters.
    assert [len(row.facts) for row in read_jsonl(knowledge / "rewrites.jsonl", Rewrite)] == [2, 1]
    assert len(read_jsonl(knowledge / "pairs.jsonl", Pair)) == 4
    metrics = json.loads(first["score.json"])
    assert (metrics["dtype"], metrics["facts"]) == ("float32", 5)


def test_the_most_frequent_reason_of_what_is_left_out_is_said(project: Path) -> None:
    train = project / "data/prepared/train.jsonl"
    pages = [Example(id=name, question=f"{name}?", answer=f"<p>{name} rests.</p>") for name in ("p", "q")]
    write_jsonl(train, [*read_jsonl(train, Example), *pages, Example(id="r", question="r?", answer="9am")])
    reason = "found HTML in the answer, which no sentences can stand for; expected prose"
    assert stage(project, "extract").stdout.endswith(f" answers, 3 left out, most often: {reason}\n")


def test_a_stage_that_leaves_everything_out_fails_in_one_line(project: Path) -> None:
    # A full stop alone is no fact.
    write_jsonl(project / "data/prepared/train.jsonl", [Example(id="x", question="Q?", answer=".")])
    done = stage(project, "extract")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(
        "error: all 1 rows were left out, none is left to go on with; the reasons: "
        "data/knowledge/facts.rejected.jsonl; the first is x: found no statement"
    )
    assert (project / "data/knowledge/facts.rejected.jsonl").read_text().count("\n") == 1
