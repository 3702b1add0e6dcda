"""What README and docs/results.md show is of the study, the default run or the log: numbers and pictures."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from PIL import Image

from experiments import study
from experiments.pooled import PooledScores
from experiments.scores import load
from knowtuning.core.storage import read_json
from knowtuning.evaluation.stats import Resampling
from tests.support.checkout import ROOT

_NUMBER = r"([+\u2212-]?\d+(?:\.\d+)?)"
_INTERVAL = re.compile(rf"{_NUMBER} \[{_NUMBER}, {_NUMBER}\]")
SOURCES = ("docs/study.md", "docs/study-float32.md", "metrics/table.txt", "LOG.md")


def intervals(path: Path) -> list[list[str]]:
    """Every value with its interval, as [value, low, high]."""
    text = path.read_text(encoding="utf-8").replace("*", "").replace("\u2212", "-")
    return [list(match.groups()) for match in _INTERVAL.finditer(text)]


def rounds_to(exact: list[float], quoted: list[str]) -> bool:
    """Whether every number is within half a unit of the last digit quoted."""
    return all(
        abs(number - float(text)) <= 0.5 * 10 ** -len(text.partition(".")[2]) + 1e-9
        for number, text in zip(exact, quoted, strict=True)
    )


@pytest.mark.parametrize("page", ["docs/results.md", "README.md"])
def test_every_interval_is_one_of_the_study_the_default_run_or_the_log(page: str) -> None:
    exact = [[float(text) for text in row] for source in SOURCES for row in intervals(ROOT / source)]
    # A difference the other way round.
    exact += [[-value, -high, -low] for value, low, high in exact]
    quoted = intervals(ROOT / page)
    assert len(quoted) > 10
    assert [each for each in quoted if not any(rounds_to(other, each) for other in exact)] == []


@pytest.mark.parametrize("name", ["light", "dark", "phone", "training"])
def test_the_pictures_show_the_default_run(name: str) -> None:
    with Image.open(ROOT / f"docs/pictures/report-{name}.png") as image:
        shown = image.info.get("Description")
    assert shown == read_json(ROOT / "metrics/verdict.json")["line"], "run: python docs/pictures.py"


@pytest.fixture(scope="module")
def kept() -> PooledScores:
    """The scores that the repository keeps, resampled as the study does."""
    return PooledScores(study.in_order(load(ROOT / "docs/study" / study.SCORES)), Resampling(1, 10_000, 0.95))


def test_the_first_result_of_the_readme_is_that_of_the_kept_scores(kept: PooledScores) -> None:
    row = study.markdown(kept.differences({"kc − sft": (study.FULL, study.SFT)}, study.SUMMARY), signed=True)
    cells = row.splitlines()[-1].partition("(5)")[2]
    assert f"| kc − sft{cells}" in (ROOT / "README.md").read_text("utf-8")


@pytest.mark.slow
def test_the_page_and_its_figures_are_those_of_the_kept_scores(kept: PooledScores, tmp_path: Path) -> None:
    made = study.page(kept, study.not_run(kept.runs), tmp_path)
    assert made == (ROOT / "docs/study.md").read_text("utf-8"), (
        "run: python -m experiments.study --kept --readme"
    )
    for path in tmp_path.iterdir():
        assert path.read_bytes() == (ROOT / "docs/study" / path.name).read_bytes()
    assert study.summary(kept) in (ROOT / "README.md").read_text("utf-8")
