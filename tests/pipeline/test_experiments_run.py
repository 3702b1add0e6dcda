"""experiments/run.py with DVC itself on a small project: skipping, kills, the queue, the shared cache."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.shell import run
from tests.support.small_project import kill_while_running, paid, params

RUN = ("python", "-m", "experiments.run")


@pytest.mark.slow
def test_a_grid_runs_once_and_leaves_the_checkout_alone(project: Path) -> None:
    # A file of the user's that git ignores: the copies need it too, or the first stage would run again.
    (project / "data/raw/mine.txt").write_text("mine\n")
    run(project, *RUN, "--grid", "ablations", "--seeds", "1", "2")
    assert run(project, "git", "status", "--short") == ""
    assert (project / "params.yaml").read_text() == params()
    # more-rows has six rows; the others share four of them, found in the cache of the checkout.
    assert sorted(paid(project)) == [f"{seed}-{row}" for seed in (1, 2) for row in range(6)]
    output = run(project, *RUN, "--grid", "ablations", "--seeds", "1", "2")
    assert output.count("there already") == 6
    assert "dvc exp run" not in output
    # Other code makes other experiments, at this commit under the same name: nothing is taken for them.
    with (project / "stages/sum.py").open("a") as stream:
        stream.write("# changed\n")
    output = run(project, *RUN, "twice", "--seeds", "1", status=1)
    assert "error: this commit has an experiment twice-s1 made by other code or parameters" in output
    run(project, "git", "commit", "-qam", "Other code")
    assert "Running stage 'sum'" in run(project, *RUN, "twice", "--seeds", "1")


@pytest.mark.slow
def test_a_killed_run_goes_on(project: Path) -> None:
    before = len(paid(project))
    kill_while_running(project, *RUN, "more-rows", "--seeds", "7", replies=2)
    assert run(project, "git", "status", "--short") == ""
    # As a kill in the moment in which DVC has its overrides in the file would leave it.
    (project / "params.yaml").write_text(params(rows=6, seed=7))
    output = run(project, *RUN, "more-rows", "--seeds", "7")
    assert "params.yaml held an experiment's values; it is put back" in output
    assert (project / "params.yaml").read_text() == params()
    # Every reply was paid for once.
    assert sorted(paid(project)[before:]) == [f"7-{row}" for row in range(6)]


@pytest.mark.slow
def test_the_queue(project: Path) -> None:
    output = run(project, *RUN, "more-rows", "twice", "--seeds", "3", "--queue", "--jobs", "2")
    assert "[more-rows-s3]" in output
    assert "[twice-s3]" in output
    assert run(project, "git", "status", "--short") == ""
    assert set(paid(project)) >= {f"3-{row}" for row in range(6)}
    # One that fails is named, and the next start runs it again.
    output = run(project, *RUN, "twice", "--seeds", "4", "--queue", status=1, FAIL="1")
    assert "error: not done: twice-s4; `dvc queue logs NAME` says why" in output
    assert "[twice-s4]" in run(project, *RUN, "twice", "--seeds", "4", "--queue")
    assert run(project, *RUN, "twice", "--seeds", "4", "--queue").startswith("twice-s4: there already")
