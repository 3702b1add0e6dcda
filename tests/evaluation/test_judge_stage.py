"""Verify with an LLM as its judge, and evaluate after it: right, replayed, faulty, misconfigured."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from knowtuning.core.records import Judgement, Verified, read_jsonl
from knowtuning.core.storage import digest_folder, read_json, write_json
from tests.support.evaluation_run import write_inputs
from tests.support.fault_server import Answer, Call, FaultServer, says
from tests.support.forks import run_stage
from tests.support.openai_setup import KEY
from tests.support.oracle import Oracle, answers_of, share, small_world

TRUTH, EXAMPLES = small_world(2)


def project(
    folder: Path,
    backend: str,
    url: str = "http://127.0.0.1:9/v1",
    *,
    truth: bool = True,
    knowledge: str | None = None,
) -> Path:
    """The inputs of verify and evaluate in an empty folder."""
    judge = {"backend": backend, "model": "stub", "base_url": url, "pairs": [["kc", "sft"], ["kc", "base"]]}
    changes = {f"judge.{key}": value for key, value in judge.items()}
    changes |= {"seed": 7, "judge.knowledge": {"path": knowledge, "passages": 2}}
    towns = TRUTH.towns if truth else {}
    return write_inputs(folder, towns, EXAMPLES, answers_of(TRUTH, EXAMPLES), changes)


def verify(folder: Path, key: str | None = KEY) -> subprocess.CompletedProcess[str]:
    inputs = {"OPENAI_API_KEY": key} if key else {}
    return run_stage(folder, "verify", HOME=str(folder), **inputs)


def evaluate(folder: Path) -> str:
    """The printed tables; needs no key."""
    done = run_stage(folder, "evaluate", HOME=str(folder))
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_a_perfect_llm_judge_gives_the_exact_metrics_and_replays_without_a_key(tmp_path: Path) -> None:
    exact, asked = project(tmp_path / "exact", "exact"), tmp_path / "asked"
    known = verify(exact)
    assert known.returncode == 0, known.stderr
    oracle = Oracle(TRUTH, EXAMPLES)
    with FaultServer(oracle) as server:
        # Without the ground truth the judge has nothing but the replies.
        done = verify(project(asked, "openai", server.url, truth=False))
    assert done.returncode == 0, done.stderr
    tables, exact_tables = evaluate(asked), evaluate(exact)
    assert read_json(asked / "metrics/judge.json") == read_json(exact / "metrics/judge.json")
    assert read_json(asked / "metrics/facts.json") == read_json(exact / "metrics/facts.json")
    assert (asked / "data/verification/judgements.jsonl").read_bytes() == (
        exact / "data/verification/judgements.jsonl"
    ).read_bytes()
    # The stub counts 10 and 5 tokens a call, and its price is unknown.
    used = len((asked / "data/verification/replies.jsonl").read_text().splitlines())
    counted = read_json(asked / "metrics/verify.json")
    spent = counted.pop("teacher")
    total = {"calls": used, "prompt_tokens": 10 * used, "completion_tokens": 5 * used, "cost": None}
    assert spent["total"] == spent["paid"] == total
    assert counted == read_json(exact / "metrics/verify.json")
    # The last line, the verdict, is about the facts of the teacher too.
    assert tables.splitlines()[-7:-1] == exact_tables.splitlines()[-7:-1]
    assert set(oracle.asked) == {"extract", "verify", "recall", "judge"}
    assert KEY not in "".join(p.read_text() for p in (asked / "data").rglob("*.jsonl"))

    before = {name: digest_folder(asked / name) for name in ("metrics", "plots", "data")}
    shutil.rmtree(asked / ".cache")
    done = verify(asked, key=None)
    assert done.returncode == 0, done.stderr
    evaluate(asked)
    # The replay pays nothing, and says so; all else has the same bytes.
    replayed = read_json(asked / "metrics/verify.json")
    assert replayed["teacher"]["paid"]["calls"] == 0
    assert replayed["teacher"]["cached"]["calls"] == spent["paid"]["calls"]
    write_json(asked / "metrics/verify.json", {**replayed, "teacher": spent})
    assert {name: digest_folder(asked / name) for name in before} == before


@pytest.mark.slow
def test_too_many_failures_end_the_stage_with_everything_written(tmp_path: Path) -> None:
    def refuse(call: Call, answer: Answer) -> Answer:
        return says(None, refusal="No.") if share(call, "refuse") < 0.2 else answer

    with FaultServer(Oracle(TRUTH, EXAMPLES, refuse)) as server:
        done = verify(project(tmp_path, "openai", server.url, truth=False))
    verdicts = read_jsonl(tmp_path / "data/verification/verdicts.jsonl", Verified)
    judged = read_jsonl(tmp_path / "data/verification/judgements.jsonl", Judgement)
    lost = sum(bool(row.unscored) for row in verdicts)
    assert done.returncode == 1
    what = f"error: {lost} of {len(verdicts)} answers have no complete verdict"
    assert f"{what}, judge.max_unjudged allows 0.05 of them" in done.stderr
    assert "data/verification/verdicts.jsonl" in done.stderr
    assert any(row.outcome == "unjudged" for row in judged)
    counted = read_json(tmp_path / "metrics/verify.json")
    assert (counted["answers"], counted["answers_unscored"]) == (len(verdicts), lost)
    assert (tmp_path / "data/verification/replies.jsonl").stat().st_size > 0
    # Enough for the numbers of what there is, by hand.
    evaluate(tmp_path)
    assert read_json(tmp_path / "metrics/judge.json").keys() == {"kc-sft", "kc-base"}


@pytest.mark.slow
def test_without_a_ground_truth_the_exact_judge_says_once_that_it_cannot(tmp_path: Path) -> None:
    done = verify(project(tmp_path, "exact", truth=False), key=None)
    assert done.returncode == 0, done.stderr
    tables = evaluate(tmp_path)
    status = "not computed: the data carry no ground truth; judge.backend openai asks an LLM"
    assert done.stderr.count(status) == 1
    for name in ("judge", "facts"):
        assert read_json(tmp_path / f"metrics/{name}.json") == {"status": status}
    assert read_json(tmp_path / "metrics/verify.json")["status"] == status
    for name in ("judgements", "replies"):
        assert (tmp_path / f"data/verification/{name}.jsonl").read_bytes() == b""
    assert "pairwise" not in tables


@pytest.mark.parametrize(
    ("backend", "complaint"),
    [
        ("english", "params.yaml: judge.backend is 'english'; expected one of exact, openai, none"),
        ("openai", "judge.base_url: http://127.0.0.1:9/v1 cannot be reached"),
    ],
)
def test_a_judge_that_cannot_be_asked_ends_in_one_line(tmp_path: Path, backend: str, complaint: str) -> None:
    done = verify(project(tmp_path, backend))
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(f"error: {complaint}")
    assert KEY not in done.stderr
