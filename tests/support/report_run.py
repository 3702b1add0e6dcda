"""A finished run on a closed world for the report's tests: four questions, four systems, hostile text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from knowtuning import report
from knowtuning.core.records import Evidence, Example, Prediction, Scores, Sentence, Verdict, write_jsonl
from knowtuning.core.storage import atomic_write, write_json
from knowtuning.report.inputs import Inputs
from knowtuning.systems import BASELINE, SYSTEMS
from tests.support.records import preference_pair

SCRIPT = "<script>document.title = 'owned'</script>"
BREAKOUT = (
    '</script><img src="https://example.org/x.png" onerror="document.title = \'owned\'"> & \u2028 "quoted"'
)
# Question id -> stratum, question, reference, and the correct and incorrect facts of each system.
QUESTIONS: dict[str, tuple[str, str, str, dict[str, tuple[int, int]]]] = {
    "alpha": ("recall", "What is Alpha?", "Alpha is a town.", dict.fromkeys(SYSTEMS, (1, 0))),
    "beta": ("transfer", "What is Beta?", "Beta is a river.", {s: (i, 1) for i, s in enumerate(SYSTEMS)}),
    "gamma/δ": ("transfer", "Tell me of Gamma.", "Gamma is a hill.", dict.fromkeys(SYSTEMS, (2, 0))),
    "results": ("recall", "An id like a section?", "Yes.", dict.fromkeys(SYSTEMS, (0, 1))),
}


def sentences(name: str, system: str) -> list[Sentence]:
    """Correct facts, then incorrect ones; one of kc's holds a script, one has a passage."""
    correct, incorrect = QUESTIONS[name][3][system]
    verdicts: list[Verdict] = ["correct"] * correct + ["incorrect"] * incorrect
    result = [Sentence(text=f"Fact {i} of {name}.", verdict=v) for i, v in enumerate(verdicts)]
    if (name, system) == ("beta", "kc"):
        result[0] = Sentence(text=SCRIPT, verdict="correct")
    if (name, system) == ("alpha", "kc"):
        passage = Evidence(title="Towns <b>of note</b>", score=3.5)
        result[0] = result[0].model_copy(update={"evidence": [passage]})
    return result


def write_answers(data: Path) -> None:
    """Questions, answers and their scores."""
    examples = [Example(id=i, question=q, answer=r) for i, (_, q, r, _) in QUESTIONS.items()]
    write_jsonl(data / "prepared/test.jsonl", examples)
    rows = []
    for system in SYSTEMS:
        predictions = []
        for e in examples:
            facts = sentences(e.id, system)
            text = " ".join(s.text for s in facts)
            # Not the sentences of a verifier: the page must show the text, and the facts apart.
            text = BREAKOUT if (e.id, system) == ("alpha", "sft") else text
            cut = (e.id, system) == ("gamma/δ", "kc")
            predictions.append(Prediction(id=e.id, question=e.question, answer=text, tokens=9, truncated=cut))
            correct, incorrect = QUESTIONS[e.id][3][system]
            scores = {"correct": float(correct), "incorrect": float(incorrect)}
            scores |= {"completeness": 50.0, "order": None}
            rows.append(
                Scores(
                    id=f"{e.id}/{system}",
                    question=e.id,
                    system=system,
                    groups={"stratum": QUESTIONS[e.id][0]},
                    scores=scores,
                    sentences=facts,
                )
            )
        write_jsonl(data / f"predictions/{system}.jsonl", predictions)
    write_jsonl(data / "evaluation/answers.jsonl", rows)
    question, reference = QUESTIONS["alpha"][1:3]
    pair = preference_pair(reference, f"Alpha is a {SCRIPT}.", source="alpha", question=question)
    write_jsonl(data / "knowledge/pairs.jsonl", [pair])


def write_text(path: Path, text: str) -> None:
    with atomic_write(path) as stream:
        stream.write(text)


def write_run(folder: Path) -> None:
    """All files of a run that the report reads."""
    write_answers(folder / "data")
    groups = [
        f"{group},{system},{metric},{value},{value - 0.5},{value + 0.5},4"
        for group in ("overall", "recall")
        for number, system in enumerate(SYSTEMS)
        for metric, value in (("correct", 1.0 + number), ("incorrect", 0.75), ("completeness", 50.0))
    ]
    write_text(folder / "plots/groups.csv", "\n".join(["group,system,metric,value,low,high,n", *groups, ""]))
    differ: dict[str, Any] = {
        "correct": {"mean": 2.0, "low": 1.5, "high": 2.5},
        "incorrect": {"mean": 0.25, "low": 0.125, "high": 0.5},
        "completeness": {"mean": 0.0, "low": 0.0, "high": 0.0},
    }
    tree = {s: {"overall": differ, "recall": differ} for s in SYSTEMS if s != BASELINE}
    write_json(folder / "metrics/differences.json", tree)
    counts = {"overall": {"questions": 4}, "recall": {"questions": 2}}
    write_json(folder / "metrics/systems.json", dict.fromkeys(SYSTEMS, counts))
    write_text(
        folder / "plots/ppl.csv", "bin,low,high,group,count\n1.4,1,2,recalled,3\n2.8,2,4,not recalled,1\n"
    )
    rows = "1,1,2,3,0,0.0,0.0,56.2\n2,2,4,1,1,100.0,20.7,100.0\n"
    head = "bin,low,high,facts,not_recalled,percent,percent_low,percent_high\n"
    write_text(folder / "plots/calibration.csv", head + rows)
    for name, values in (
        ("loss", "1\t0.7\n2\t0.5\n"),
        ("eval_loss", "2\t0.6\n"),
        ("logps/chosen", "1\t-20\n2\t-21.5\n"),
        ("logps/rejected", "1\t-20\n2\t-30\n"),
    ):
        column = name.rpartition("/")[2]
        write_text(folder / f"plots/train_kc/plots/metrics/{name}.tsv", f"step\t{column}\n{values}")


def read(folder: Path, *, ablations: Path | None = None, human: Path | None = None) -> Inputs:
    """What the report of the run in `folder` is made of."""
    return report.read(
        folder,
        split="test",
        params={
            "seed": 3,
            "evaluate": {"resamples": 500, "confidence": 0.9},
            "teacher": {"model": "<b>bold</b>"},
        },
        ablations=ablations,
        human=human,
    )


def build(folder: Path, *, ablations: Path | None = None, human: Path | None = None) -> Path:
    """The report of the run in `folder`."""
    out = folder / "report/index.html"
    report.build(out, read(folder, ablations=ablations, human=human))
    return out
