"""The study's page from scores that are written here, so that every mean is known."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pandas as pd
import pytest

from experiments import study
from experiments.pooled import OVERALL, PooledScores, Subject, cell, draw
from experiments.scores import load, save, scored
from knowtuning.evaluation.stats import Estimate, Resampling
from knowtuning.knowledge.aspects import ASPECTS

AUDIT = {aspect: {"accuracy": 60.0, "style_accuracy": 55.0, "length_accuracy": 50.0} for aspect in ASPECTS}


@dataclass
class Written:
    """Stands in for a finished experiment: four questions a system, all with the same scores."""

    correct: dict[str, float]
    style: str = "matched"
    baseline: str = "0123456789"
    ids: tuple[str, ...] = ("q0", "q1", "q2", "q3")

    def output(self, path: str) -> str:
        questions = [{"id": self.ids[i], "question": "?", "answer": "."} for i in range(4)]
        rows = {"data/prepared/test.jsonl": questions, "data/evaluation/answers.jsonl": self.answers()}[path]
        return "".join(f"{json.dumps(row)}\n" for row in rows)

    def answers(self) -> list[dict[str, Any]]:
        kinds = [(k, s) for k in ("general", "specific") for s in ("transfer", "recall")]
        return [
            {"question": self.ids[i], "system": system, "groups": {"kind": kind, "stratum": stratum}}
            | {"scores": {"correct": value + i, "incorrect": 1.0, "order": None if i else 50.0}}
            for i, (kind, stratum) in enumerate(kinds)
            for system, value in self.correct.items()
        ]

    def json(self, path: str) -> Any:
        ppl = {"status": "computed", "auroc": 0.8, "low": 0.7, "high": 0.9, "not_recalled": 2, "facts": 9}
        return {"metrics/audit.json": AUDIT, "metrics/ppl.json": ppl}[path]

    @property
    def params(self) -> dict[str, Any]:
        pairs = {"beta_delete": 0.5, "style": self.style, "aspects": list(AUDIT)}
        read = {"rewrite": {"alpha": 0.5}, "perturb": pairs, "train_kc": {"gamma": 0.2}}
        return {"predict": {"split": "test"}, **read}


def pooled(runs: dict[Any, Any], resamples: int = 100) -> PooledScores:
    return PooledScores({key: scored(run) for key, run in runs.items()}, Resampling(1, resamples, 0.95))


@pytest.fixture
def scores() -> PooledScores:
    runs: dict[Any, Any] = {}
    for seed in (1, 2):
        runs["default", seed] = Written({"base": 1, "sft": 2, "ka": 3, "kc": 5 + seed})
        runs["no-ka", seed] = Written({"kc": 4})
        runs["no-kcc", seed] = Written({"kc": 2.0 * seed})
        runs["only-kcc", seed] = Written({"kc": 7})
        runs["paper-style", seed] = Written({"kc": 6}, "paper")
        runs["disordered", seed] = Written({"base": 1, "sft": 2, "ka": 3, "kc": 5})
        runs["disordered-no-klc", seed] = Written({"kc": 4})
    runs["alpha-25", 1] = Written({"kc": 9})
    return pooled(runs, 1000)


def test_means_and_differences_are_over_seeds_and_questions(scores: PooledScores) -> None:
    # correct of kc: questions add 0, 1, 2, 3 (mean 1.5) to 6 and 7: 7.5 and 8.5, mean 8.
    kc, sft = Subject("default", "kc"), Subject("default", "sft")
    assert scores.estimate(kc, None, "correct", (1, 2), OVERALL).value == 8.0
    # A pair differs by 4 in seed 1 and by 5 in seed 2 on every question: only the seed is uncertain.
    result = scores.estimate(kc, sft, "correct", (1, 2), OVERALL)
    assert (result.value, result.low, result.high) == (4.5, 4.0, 5.0)
    # One question of four defines the order, and general_recall (the second) does not.
    assert scores.estimate(kc, None, "order", (1, 2), OVERALL).value == 50.0
    assert cell(scores.estimate(kc, None, "order", (1, 2), "general_recall"), signed=False) == "–"
    assert scores.estimate(sft, None, "correct", (1,), "general_recall").value == 3.0


def test_the_readme_gets_the_tables_between_its_marks(scores: PooledScores, tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    begin, end = study.MARKS
    readme.write_text(f"Before\n{begin}\nold\n{end}\nAfter\n", encoding="utf-8")
    for _ in range(2):
        study.into(readme, study.summary(scores))
    text = readme.read_text(encoding="utf-8")
    assert text.startswith(f"Before\n{begin}\n2 seeds")
    assert text.endswith(f"|\n{end}\nAfter\n")
    assert "| kc − sft | **+4.50 [+4.00, +5.00]** |" in text
    assert "old" not in text
    assert "| −KCC (2) | **+3.50 [+3.00, +4.00]** |" in text
    readme.write_text("bare", encoding="utf-8")
    with pytest.raises(ValueError, match="lacks <!-- results: begin -->"):
        study.into(readme, "x")


def test_the_page_has_what_was_run_and_names_what_was_not(scores: PooledScores, tmp_path: Path) -> None:
    text = study.page(scores, ["gamma-0"], tmp_path)
    assert "seeds 1, 2, 4 test questions each" in text
    assert "Not run: gamma-0." in text
    # full - (-KCC): 6 - 2 and 7 - 4.
    assert "| full − (−KCC) (2) | **+3.50 [+3.00, +4.00]** | +0.00 [+0.00, +0.00] |" in text
    assert "| KCC alone − ka (2) | **+4.00 [+4.00, +4.00]** |" in text  # 7 - 3
    # 5 - 4; what was not run has no row.
    disordered = text.partition("## Answers out of order")[2].partition("\n## ")[0]
    assert "| kc − sft (2) | **+3.00 [+3.00, +3.00]** |" in disordered
    assert "| full − (−KLC) (2) | **+1.00 [+1.00, +1.00]** |" in disordered
    assert "KLC alone" not in disordered
    # The sweep has three points, all there with seed 1 alone.
    assert "Default 0.5; means over seeds 1." in text
    assert "| 0.25 − 0.5 (1) | **+3.00 [+3.00, +3.00]** |" in text
    assert "| paper | logicality | 60.0 | 55.0 | 50.0 |" in text
    assert "| default − paper-style (2) | +0.50 [+0.00, +1.00] |" in text
    assert "Baselines" not in text
    for figure in ("ablations", "alpha"):
        assert f"(study/{figure}.svg)" in text
        assert ElementTree.parse(tmp_path / f"{figure}.svg").getroot().tag.endswith("svg")


def test_kept_scores_make_the_same_page_in_the_same_bytes(scores: PooledScores, tmp_path: Path) -> None:
    runs = dict(scores.runs)
    runs["real-dolly", 1] = scored(OfOwnData({"sft": 2.125, "ka": 1.0, "kc": 4.0}, ids=("NA", "1", "2", "3")))
    save(runs, tmp_path)
    kept = load(tmp_path)
    # Text stays text, an id as well as the group of questions that have none.
    assert set(kept["real-dolly", 1].answers["question"]) == {"NA", "1", "2", "3"}
    assert set(kept["real-dolly", 1].answers["group"]) == {""}
    pages = [
        study.page(PooledScores(study.in_order(each), scores.how), [], tmp_path) for each in (runs, kept)
    ]
    assert pages[0] == pages[1]
    before = {path.name: path.read_bytes() for path in tmp_path.glob("*.gz")}
    save(kept, tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.glob("*.gz")} == before
    with pytest.raises(ValueError, match=r"keeps no scores: it has no runs\.json; start without --kept"):
        load(tmp_path / "none")


class OfOwnData(Written):
    """Questions without kinds, and answers that nobody verified."""

    def answers(self) -> list[dict[str, Any]]:
        return [
            {
                "question": self.ids[i],
                "system": system,
                "groups": {},
                "scores": {"rougeL": value + i, "similarity(encoder@1)": value + i, "words": 9.0},
            }
            for i in range(4)
            for system, value in self.correct.items()
        ]

    def json(self, path: str) -> Any:
        return {"metrics/audit.json": AUDIT, "metrics/ppl.json": {"status": "not computed"}}[path]


def test_the_page_of_other_data_has_neither_kinds_nor_our_readings(tmp_path: Path) -> None:
    systems = {"base": 1.0, "sft": 2.0, "ka": 3.0, "kc": 5.0}
    runs: dict[Any, Any] = {("default", 1): OfOwnData(systems), ("no-kcc", 1): OfOwnData({"kc": 4.0})}
    text = study.page(pooled(runs), [], tmp_path)
    assert "On data of your own, seeds 1, 4 test questions each. A seed makes another base model" in text
    # 5 - 4, beside five metrics that no answer has.
    row = next(line for line in text.splitlines() if line.startswith("| full − (−KCC) (1)"))
    assert "**+1.00 [+1.00, +1.00]**" in row
    assert "Kinds of questions" not in text
    assert "plain fine-tuning" not in text


def test_real_text_is_scored_by_what_needs_no_truth() -> None:
    runs: dict[Any, Any] = {
        ("real-medquad", seed): OfOwnData({"sft": 60, "ka": 61, "kc": 61.0 + seed}) for seed in (1, 2)
    }
    section = study.real_text(pooled(runs, 1000), "real-medquad")
    assert "seeds 1, 2 (each other adapters, another split), 4 test questions a seed" in section
    assert section.count("| Sentence similarity | ROUGE-L | Length |") == 2  # what no answer has is no column
    # 62 and 63 less 60.
    assert "| kc − sft (2) | **+2.50 [+2.00, +3.00]** | **+2.50 [+2.00, +3.00]** | +0.00" in section
    # Another KC, of seed 2 alone, against 60 of its own sft and 63 of the other's kc.
    runs["real-medquad-1-epoch", 2] = OfOwnData({"base": 1, "sft": 60, "ka": 61, "kc": 59})
    section = study.real_text(pooled(runs, 1000), "real-medquad-1-epoch")
    assert "| kc − sft (1) | **−1.00 [−1.00, −1.00]**" in section
    assert "| kc of `real-medquad` − kc (1) | **+4.00 [+4.00, +4.00]**" in section
    assert "| ka |" not in section


def test_a_reading_without_a_section_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs: dict[Any, Any] = {("default", 1): Written({"base": 1, "sft": 2, "ka": 3, "kc": 5})}
    readings = tmp_path / "readings.md"
    readings.write_text("## Systems\n\nGood.\n\n## Sytle\n\nOdd.\n")
    monkeypatch.setattr(study, "READINGS", readings)
    with pytest.raises(ValueError, match=r"readings\.md: no section is called Sytle"):
        study.page(pooled(runs), [], tmp_path)


def test_a_figure_has_a_panel_a_metric_and_the_same_bytes_again(tmp_path: Path) -> None:
    table = pd.DataFrame({"correct": [Estimate(2.0, 1.0, 3.0, 9), Estimate(3.0, 2.0, 4.0, 9)]}, ["a", "b"])
    for name in ("one", "two"):
        draw(tmp_path / f"{name}.svg", table, ["a", "b"], "what was left out", joined=False)
    svg = (tmp_path / "one.svg").read_text(encoding="utf-8")
    for text in ("correct", "a", "b", "what was left out"):
        assert f">{text}</text>" in svg
    assert (tmp_path / "two.svg").read_text(encoding="utf-8") == svg


def test_cells() -> None:
    assert cell(Estimate(-0.5, -0.75, -0.25, 9), signed=True) == "**−0.50 [−0.75, −0.25]**"
    assert cell(Estimate(0.5, -0.25, 0.75, 9), signed=True) == "+0.50 [−0.25, +0.75]"
    assert cell(Estimate(0.5, 0.25, 0.75, 9), signed=False) == "0.50 [0.25, 0.75]"
