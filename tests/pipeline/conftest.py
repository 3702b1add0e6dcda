"""Projects that tests start from: a small one with DVC, and one in which all stages have run."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from filelock import FileLock

from tests.support import small_project, stage_runs


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small project with its outputs in its cache."""
    folder = tmp_path_factory.mktemp("made") / "project"
    folder.mkdir()
    return small_project.new_project(folder)


@pytest.fixture
def project(made: Path, tmp_path: Path) -> Path:
    """A copy of the small project, cache included; its default remote is a folder in the test's home."""
    folder = tmp_path / "project"
    shutil.copytree(made, folder)
    return folder


@pytest.fixture(scope="session")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with small parameters, in which all stages have run undisturbed; one for all workers."""
    base = tmp_path_factory.getbasetemp()
    root = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    with FileLock(root / "calm.lock"):
        if not (root / "calm/made").exists():
            stage_runs.new_project(root / "calm/project")
            (root / "calm/made").touch()
    return root / "calm/project"
