"""docs/troubleshooting.md, answer by answer: the trouble is made, the commands of the page mend it."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from tests.support.checkout import ROOT
from tests.support.shell import run
from tests.support.small_project import kill_while_running, paid, params

PAGE = (ROOT / "docs/troubleshooting.md").read_text(encoding="utf-8")


def answer(title: str) -> list[str]:
    """The commands under a heading of the page, comments left out."""
    section = PAGE.split(f"\n## {title}\n")[1].split("\n## ")[0]
    block = re.search(r"```sh\n(.*?)```", section, re.DOTALL)
    assert block, f"no commands under {title}"
    return [line.split("    #")[0].strip() for line in block.group(1).splitlines()]


def mend(project: Path, title: str) -> str:
    """Type the commands of an answer; all must succeed. Returns what they print."""
    return "".join(run(project, "bash", "-c", command) for command in answer(title))


def commit(project: Path, message: str, **values: int) -> None:
    """Other parameters, their outputs, and a commit of both."""
    (project / "params.yaml").write_text(params(**values))
    run(project, "dvc", "repro", "-q")
    run(project, "git", "commit", "-qam", message)


def clean(project: Path) -> None:
    """Nothing to run, nothing to commit."""
    assert "Running stage" not in run(project, "dvc", "repro")
    assert run(project, "git", "status", "--short") == ""


def test_a_conflict_in_the_lock(project: Path) -> None:
    run(project, "git", "checkout", "-q", "-b", "other")
    commit(project, "More rows", rows=6)
    run(project, "git", "checkout", "-q", "main")
    run(project, "dvc", "checkout", "-q")
    (project / "params.yaml").write_text(params().replace("{factor: 1}", "\n  factor: 3"))
    run(project, "dvc", "repro", "-q")
    run(project, "git", "commit", "-qam", "Three times")
    output = run(project, "git", "merge", "other", status=1)
    assert "CONFLICT (content): Merge conflict in dvc.lock" in output
    # params.yaml conflicts or merges as any text; here the person decides.
    (project / "params.yaml").write_text(params(rows=6, factor=3))
    run(project, "git", "add", "params.yaml")
    mend(project, "A merge conflict in dvc.lock")
    # Six files of 150 characters, three times.
    assert (project / "models/sum.txt").read_text() == "2700\n"
    clean(project)


def test_a_moved_branch(project: Path) -> None:
    commit(project, "More rows", rows=6)
    run(project, "git", "checkout", "-q", "HEAD~1")
    assert "modified" in run(project, "dvc", "status")
    mend(project, "Another branch or commit, and the files are still the old ones")
    assert len(list((project / "data/prepared").iterdir())) == 4
    clean(project)


def test_a_run_that_was_killed(project: Path) -> None:
    (project / "params.yaml").write_text(params(rows=9))
    kill_while_running(project, "dvc", "repro")
    assert run(project, "git", "status", "--short").split() == ["M", "params.yaml"]
    mend(project, "A run that was killed, or a machine that went down")
    # The replies that were paid for before the kill are not paid for again.
    assert sorted(paid(project)) == [f"1-{row}" for row in range(9)]
    assert len(list((project / "data/prepared").iterdir())) == 9


def test_a_run_that_fails_leaves_nothing_for_git(project: Path) -> None:
    (project / "params.yaml").write_text(params(rows=5))
    run(project, "dvc", "repro", status=255, FAIL="1")
    assert (project / "data/prepared/4.txt").exists()
    assert run(project, "git", "status", "--short").split() == ["M", "params.yaml"]


def test_a_kill_while_dvc_wrote_its_locks(project: Path) -> None:
    (project / ".dvc/tmp/rwlock").write_text("")
    assert "Unable to read RWLock-file" in run(project, "dvc", "repro", status=255)
    mend(project, "Unable to read RWLock-file")
    clean(project)


def test_an_experiment_that_was_killed(project: Path) -> None:
    kill_while_running(project, "dvc", "exp", "run", "-n", "long", "-S", "make.rows=12")
    assert "rows: 12" in (project / "params.yaml").read_text()
    assert "refs/exps/exec" in run(project, "git", "for-each-ref", "refs/exps/exec")
    mend(project, "An experiment that was killed")
    assert (project / "params.yaml").read_text() == params()
    assert run(project, "git", "for-each-ref", "refs/exps/exec") == ""
    assert run(project, "git", "branch", "--show-current") == "main\n"
    clean(project)


def test_a_lost_cache_with_the_files_still_there(project: Path) -> None:
    shutil.rmtree(project / ".dvc/cache")
    assert "not in cache" in run(project, "dvc", "status")
    mend(project, "The cache is gone, the files are there")
    shutil.rmtree(project / "data/prepared")
    run(project, "dvc", "checkout", "-q")
    clean(project)


def test_a_lost_cache_and_lost_files(project: Path) -> None:
    run(project, "dvc", "push", "-q")
    shutil.rmtree(project / ".dvc/cache")
    shutil.rmtree(project / "data/prepared")
    mend(project, "The cache and the files are gone")
    assert len(list((project / "data/prepared").iterdir())) == 4
    clean(project)
