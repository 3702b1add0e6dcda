"""Projects that tests start from: a small one with DVC, and one in which all stages have run."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

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
    """A folder with small parameters, in which all stages have run undisturbed."""
    folder = tmp_path_factory.mktemp("calm") / "project"
    stage_runs.new_project(folder)
    return folder
