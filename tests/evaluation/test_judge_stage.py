"""The evaluate stage with an LLM as its judge, as a user runs it: right, replayed, faulty, misconfigured."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from knowtuning.core.records import FactScore, Preference, Scored, read_jsonl, write_jsonl
from knowtuning.core.storage import digest_folder, read_json, write_json
from knowtuning.evaluation.answers import Scores
from knowtuning.evaluation.judgements import Judgement
from tests.evaluation.oracle import Oracle, answers_of, share, small_world
from tests.teacher.fault_server import Answer, Call, FaultServer, says

ROOT = Path(__file__).resolve().parents[2]
KEY = "sk-test-not-a-real-key"
TRUTH, EXAMPLES = small_world(2)
PARAMS = """
seed: 7
predict: {{split: test, max_new_tokens: 64, limit: null}}
evaluate:
  resamples: 1000
  confidence: 0.95
  audit_folds: 2
  bertscore: {{encoder: null, revision: null, layers: null, rescale: true}}
judge:
  {{backend: {backend}, model: stub, base_url: "{url}", temperature: 0.0, top_p: null, max_tokens: 1024,
  seed: null, pairs: [[kc, sft], [kc, base]], max_unjudged: 0.05}}
prepare: {{source: world}}
base: {{source: scratch, hub: {{id: null, revision: null}}}}
model: {{template: bare, max_length: 512}}
teacher: {{backend: rules, model: none}}
lora: {{r: 4, alpha: 8, targets: all-linear}}
train_sft: {{lr: 0.1, epochs: 1, batch: 2}}
rewrite: {{alpha: 0.5}}
perturb: {{style: matched, completeness: true, factuality: true, logicality: true, beta_delete: 0.5}}
train_ka: {{lr: 0.1, epochs: 1, batch: 2}}
train_kc: {{lr: 0.1, epochs: 1, batch: 2, beta: 0.3, gamma: 0.2, reference: ka}}
"""


def project(folder: Path, backend: str, url: str = "http://127.0.0.1:9/v1", truth: bool = True) -> Path:
    """The inputs of evaluate in an empty folder."""
    data = folder / "data"
    folder.mkdir(exist_ok=True)
    (folder / "params.yaml").write_text(PARAMS.format(backend=backend, url=url))
    (folder / "prompts").symlink_to(ROOT / "prompts")
    write_jsonl(data / "prepared/test.jsonl", EXAMPLES)
    if truth:
        write_json(data / "prepared/truth.json", {"towns": TRUTH.towns})
    for system, given in answers_of(TRUTH, EXAMPLES).items():
        write_jsonl(data / f"predictions/{system}.jsonl", given)
    facts = [FactScore(text=f"{i}", logps=-1.0, tokens=2, ppl=1.0 + i, recalled=i < 2) for i in range(4)]
    write_jsonl(data / "knowledge/scored.jsonl", [Scored(id="a", question="?", answer=".", facts=facts)])
    pair = Preference(
        id="p", source="p", aspect="factuality", question="?", chosen="A b, c.", rejected="A. B."
    )
    write_jsonl(data / "knowledge/kc.jsonl", [pair])
    return folder


def evaluate(folder: Path, key: str | None = KEY) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "DVC_ROOT": str(folder), "HOME": str(folder)}
    environment.pop("OPENAI_API_KEY", None)
    if key:
        environment["OPENAI_API_KEY"] = key
    return subprocess.run(
        [sys.executable, "-m", "stages.evaluate"], cwd=folder, env=environment, capture_output=True, text=True
    )


@pytest.mark.slow
def test_a_perfect_llm_judge_gives_the_exact_metrics_and_replays_without_a_key(tmp_path: Path) -> None:
    exact, asked = project(tmp_path / "exact", "exact"), tmp_path / "asked"
    known = evaluate(exact)
    assert known.returncode == 0, known.stderr
    oracle = Oracle(TRUTH, EXAMPLES)
    with FaultServer(oracle) as server:
        # Without the ground truth the judge has nothing but the replies.
        done = evaluate(project(asked, "openai", server.url, truth=False))
    assert done.returncode == 0, done.stderr
    assert read_json(asked / "metrics/judge.json") == read_json(exact / "metrics/judge.json")
    assert (asked / "data/evaluation/judgements.jsonl").read_bytes() == (
        exact / "data/evaluation/judgements.jsonl"
    ).read_bytes()
    facts = read_json(asked / "metrics/facts.json")
    # The stub counts 10 and 5 tokens a call, and its price is unknown.
    used = len((asked / "data/evaluation/responses.jsonl").read_text().splitlines())
    spent = facts.pop("teacher")
    total = {"calls": used, "prompt_tokens": 10 * used, "completion_tokens": 5 * used, "cost": 0.0}
    assert spent["total"] == spent["paid"] == total
    assert facts == read_json(exact / "metrics/facts.json")
    assert done.stdout.splitlines()[-6:] == known.stdout.splitlines()[-6:]
    assert set(oracle.asked) == {"extract", "verify", "recall", "judge"}
    assert KEY not in "".join(p.read_text() for p in (asked / "data").rglob("*.jsonl"))

    before = {name: digest_folder(asked / name) for name in ("metrics", "plots", "data")}
    shutil.rmtree(asked / ".cache")
    done = evaluate(asked, key=None)
    assert done.returncode == 0, done.stderr
    # The replay pays nothing, and says so; all else has the same bytes.
    replayed = read_json(asked / "metrics/facts.json")
    assert replayed["teacher"]["paid"]["calls"] == 0
    assert replayed["teacher"]["cached"]["calls"] == spent["paid"]["calls"]
    write_json(asked / "metrics/facts.json", {**replayed, "teacher": spent})
    assert {name: digest_folder(asked / name) for name in before} == before


@pytest.mark.slow
def test_too_many_failures_end_the_stage_with_everything_written(tmp_path: Path) -> None:
    def refuse(call: Call, answer: Answer) -> Answer:
        return says(None, refusal="No.") if share(call, "refuse") < 0.2 else answer

    with FaultServer(Oracle(TRUTH, EXAMPLES, refuse)) as server:
        done = evaluate(project(tmp_path, "openai", server.url, truth=False))
    answers = read_jsonl(tmp_path / "data/evaluation/answers.jsonl", Scores)
    judged = read_jsonl(tmp_path / "data/evaluation/judgements.jsonl", Judgement)
    lost = sum(bool(row.unscored) for row in answers)
    assert done.returncode == 1
    what = f"error: {lost} of {len(answers)} answers have no complete verdict"
    assert f"{what}, judge.max_unjudged allows 0.05 of them" in done.stderr
    assert "data/evaluation/answers.jsonl" in done.stderr
    assert any(row.outcome == "unjudged" for row in judged)
    assert read_json(tmp_path / "metrics/judge.json").keys() == {"kc-sft", "kc-base"}
    assert (tmp_path / "data/evaluation/responses.jsonl").stat().st_size > 0


@pytest.mark.slow
def test_without_a_ground_truth_the_exact_judge_says_once_that_it_cannot(tmp_path: Path) -> None:
    done = evaluate(project(tmp_path, "exact", truth=False), key=None)
    assert done.returncode == 0, done.stderr
    status = "not computed: the data carry no ground truth; judge.backend openai asks an LLM"
    assert done.stderr.count(status) == 1
    assert read_json(tmp_path / "metrics/judge.json") == {"status": status}
    assert read_json(tmp_path / "metrics/facts.json") == {"status": status}
    for name in ("judgements", "responses"):
        assert (tmp_path / f"data/evaluation/{name}.jsonl").read_bytes() == b""
    assert "pairwise" not in done.stdout


@pytest.mark.parametrize(
    ("backend", "key", "complaint"),
    [
        ("rules", KEY, "params.yaml: judge.backend is 'rules'; expected exact, openai or none: rules can"),
        ("openai", KEY, "judge.base_url: http://127.0.0.1:9/v1 cannot be reached"),
    ],
)
def test_a_judge_that_cannot_be_asked_ends_in_one_line(
    tmp_path: Path, backend: str, key: str, complaint: str
) -> None:
    done = evaluate(project(tmp_path, backend), key)
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith(f"error: {complaint}")
    assert KEY not in done.stderr
