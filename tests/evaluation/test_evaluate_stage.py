"""Verify, evaluate and report as a user runs them, on a closed world of three towns."""

import csv
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from experiments.copies import set_params
from knowtuning.core.records import Example, Probed, Scores, Verified, read_jsonl, write_jsonl
from knowtuning.core.storage import digest_folder, read_json, write_json
from knowtuning.evaluation.metrics import METRICS, label_and_unit
from knowtuning.knowledge.aspects import ASPECTS
from knowtuning.systems import SYSTEMS
from knowtuning.world.wording import NAMES, say
from tests.support.checkout import run_python
from tests.support.evaluation_run import write_inputs
from tests.support.forks import run_stage
from tests.support.records import prediction, preference_pair

TOWNS = {
    name: {attribute: f"{attribute}{name}" for attribute in NAMES} for name in ("Aldow", "Brimm", "Corvel")
}
CHANGES = {"seed": 7, "judge.pairs": [["kc", "sft"], ["sft", "base"]]}


def true(name: str, count: int) -> list[str]:
    return [say(attribute, 0, name, TOWNS[name][attribute]) for attribute in NAMES[:count]]


def false(name: str) -> str:
    return say(NAMES[-1], 0, name, "Nowhere")


def answer(system: str, name: str) -> str:
    """base states 1 false fact; sft 2 true and 1 false; ka 3 true; kc all true."""
    output = {"base": [], "sft": true(name, 2), "ka": true(name, 3), "kc": true(name, len(NAMES))}[system]
    return " ".join([*output, false(name)] if system in ("base", "sft") else output)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The inputs of the stages, in an empty folder."""
    examples = [
        Example(
            id=name,
            question=f"Tell me about {name}.",
            answer=" ".join(true(name, len(NAMES))),
            meta={"entity": name, "kind": "general", "attributes": list(NAMES), "stratum": "transfer"},
        )
        for name in TOWNS
    ]
    answers = {s: [prediction(e.id, answer(s, e.id), e.question) for e in examples] for s in SYSTEMS}
    # The probe knows one of the three towns.
    probes = [
        Probed(id=f"Brimm/{s}", question="Brimm", system=s, scores={"probe_factuality": 25.0 * i})
        for i, s in enumerate(SYSTEMS)
    ]
    pairs = [
        preference_pair("A b, c.", "A. B.", source=name, aspect=aspect)
        for name in TOWNS
        for aspect in ASPECTS
    ]
    return write_inputs(tmp_path, TOWNS, examples, answers, CHANGES, probes=probes, pairs=pairs)


def leaves(value: Any) -> Iterator[Any]:
    """All values of nested mappings."""
    if isinstance(value, dict):
        for each in value.values():
            yield from leaves(each)
    else:
        yield value


def stage(folder: Path, name: str) -> subprocess.CompletedProcess[str]:
    return run_stage(folder, name, HOME=str(folder))


def finish(folder: Path, *names: str) -> str:
    """What the stages print; all must succeed."""
    output = []
    for name in names:
        done = stage(folder, name)
        assert done.returncode == 0, done.stderr
        output.append(done.stdout)
    return "".join(output)


@pytest.mark.slow
def test_stage_end_to_end(project: Path) -> None:
    printed = finish(project, "verify", "evaluate", "report")
    systems = read_json(project / "metrics/systems.json")
    facts = len(NAMES)
    assert {s: systems[s]["overall"]["correct"] for s in SYSTEMS} == {
        "base": 0.0,
        "sft": 2.0,
        "ka": 3.0,
        "kc": float(facts),
    }
    assert systems["sft"]["overall"]["percent_correct"] == 66.6667
    assert systems["kc"]["general_transfer"]["completeness"] == 100.0
    assert systems["kc"]["overall"]["rougeL"] == 100.0
    assert (systems["kc"]["overall"]["probe_factuality"], systems["kc"]["overall"]["probe_factuality_n"]) == (
        75,
        1,
    )
    differences = read_json(project / "metrics/differences.json")
    gain = facts - 2.0
    assert differences["kc"]["overall"]["correct"] == {"mean": gain, "low": gain, "high": gain}
    assert differences["base"]["overall"]["incorrect"] == {"mean": 0.0, "low": 0.0, "high": 0.0}
    assert read_json(project / "metrics/ppl.json")["auroc"] == 1.0
    # kc states all facts in order, sft two and a false one, base the false one alone.
    judge = read_json(project / "metrics/judge.json")
    assert {pair: {a: (f["win"], f["tie"]) for a, f in result.items()} for pair, result in judge.items()} == {
        "kc-sft": {"completeness": (100.0, 0.0), "factuality": (100.0, 0.0), "logicality": (0.0, 100.0)},
        "sft-base": {"completeness": (100.0, 0.0), "factuality": (0.0, 100.0), "logicality": (0.0, 100.0)},
    }
    raw = read_json(project / "metrics/facts.json")["sft"]["raw"]
    assert (raw["correct"], raw["incorrect"], raw["total"]) == (6, 3, 9)
    # DVC drops lists from metrics without a word.
    for path in sorted((project / "metrics").glob("*.json")):
        assert all(isinstance(leaf, int | float | str) for leaf in leaves(read_json(path))), path
    answers = read_jsonl(project / "data/evaluation/answers.jsonl", Scores)
    assert len(answers) == len(TOWNS) * len(SYSTEMS)
    assert [s.verdict for s in answers[-1].sentences] == ["correct", "correct", "incorrect"]
    # An answer's scores are those of its verdicts and the text metrics.
    verdicts = read_jsonl(project / "data/verification/verdicts.jsonl", Verified)
    assert [(v.id, v.sentences, v.unscored) for v in verdicts] == [
        (a.id, a.sentences, a.unscored) for a in answers
    ]
    assert all(v.scores.items() < a.scores.items() for v, a in zip(verdicts, answers, strict=True))
    assert read_json(project / "metrics/verify.json") == {
        "status": "computed",
        "answers": len(answers),
        "answers_unscored": 0,
        "comparisons": len(TOWNS) * 2 * len(ASPECTS),
        "comparisons_unjudged": 0,
    }
    assert (project / "data/verification/replies.jsonl").read_bytes() == b""
    # The bars of `dvc plots`: what headlines show and nothing else, as readers call it.
    with (project / "plots/systems.csv").open(encoding="utf-8", newline="") as stream:
        bars = {row["metric"] for row in csv.DictReader(stream)}
    assert {"Correct facts, per answer", "Completeness, %", "Length, words"} < bars
    assert bars <= {label_and_unit(name) for name, each in METRICS.items() if "exact" in each.leads}
    assert "correct" in printed
    assert "sft-base logicality" in printed
    assert f"+{gain:.2f} [+{gain:.2f}, +{gain:.2f}]*" in printed

    page = (project / "report/index.html").read_text(encoding="utf-8")
    assert "kc against sft on 3 questions" in page
    assert TOWNS["Brimm"][NAMES[0]] in page

    before = {name: digest_folder(project / name) for name in ("metrics", "plots", "data", "report")}
    finish(project, "verify", "evaluate", "report")
    assert {name: digest_folder(project / name) for name in before} == before

    # A human evaluation is in the page once there is one.
    assert "Human evaluation" not in page
    rates = {"n": 4, "win": 75.0, "tie": 25.0, "lose": 0.0, "net": 75.0, "net_low": 50.0, "net_high": 100.0}
    write_json(project / "metrics/human.json", {"pairs": {"kc-sft": {"factuality": rates}}})
    finish(project, "report")
    assert "Human evaluation" in (project / "report/index.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["verify", "evaluate"])
def test_stale_predictions_end_in_one_line(project: Path, name: str) -> None:
    lines = (project / "data/predictions/ka.jsonl").read_text().splitlines(keepends=True)
    (project / "data/predictions/ka.jsonl").write_text("".join(lines[:-1]))
    done = stage(project, name)
    assert done.returncode == 1
    assert done.stderr == (
        "error: data/predictions/ka.jsonl: found 2 answers, expected one to each of 3 questions "
        "('Corvel' is not answered); run predict again\n"
    )
    assert not (project / "metrics").exists()
    (project / "data/predictions/ka.jsonl").unlink()
    done = stage(project, name)
    assert done.stderr == "error: data/predictions/ka.jsonl: not found; run `dvc repro`, or `dvc pull`\n"


def test_a_further_test_set_without_references_is_evaluated_by_what_needs_none(project: Path) -> None:
    set_params(project / "params.yaml", {"predict.split": "tests/open", "judge.backend": "none"})
    asked = read_jsonl(project / "data/prepared/test.jsonl", Example)
    blank = [example.model_copy(update={"answer": "", "meta": {}}) for example in asked]
    write_jsonl(project / "data/prepared/tests/open.jsonl", blank)
    finish(project, "verify", "evaluate", "report")
    overall = read_json(project / "metrics/systems.json")["kc"]["overall"]
    assert overall["questions"] == len(blank)
    assert overall["words"] > 0
    assert "rougeL" not in overall
    assert overall["rougeL_n"] == 0
    set_params(project / "params.yaml", {"predict.split": "elsewhere/open"})
    done = stage(project, "verify")
    assert done.stderr.startswith("error: params.yaml: predict.split is 'elsewhere/open'; expected ")
    assert done.stderr.count("\n") == 1


def test_a_terminal_that_knows_ascii_alone_gets_the_table(project: Path) -> None:
    finish(project, "verify")
    done = run_stage(project, "evaluate", HOME=str(project), PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (0, "")
    assert "+/-" in done.stdout
    assert "±" in (project / "metrics/table.txt").read_text(encoding="utf-8")


def test_synonyms_without_wordnet_end_in_one_line(project: Path) -> None:
    set_params(project / "params.yaml", {"evaluate.meteor_synonyms": True})
    # The machine's own folders may have WordNet.
    program = "import nltk; nltk.data.path.clear(); from stages import evaluate, run; run(evaluate.main)"
    done = run_python(project, "-c", program, HOME=str(project), DVC_ROOT=str(project))
    assert done.returncode == 1
    assert done.stderr == (
        "error: evaluate.meteor_synonyms is true, but WordNet is not installed; install Debian's "
        "wordnet-base and wordnet-sense-index and run `make wordnet`, or set it to false\n"
    )
    assert not (project / "metrics").exists()
