"""The small project, made once a module and copied for each test."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from small_project import new_project


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small project with its outputs in its cache."""
    folder = tmp_path_factory.mktemp("made") / "project"
    folder.mkdir()
    return new_project(folder)


@pytest.fixture
def project(made: Path, tmp_path: Path) -> Path:
    """A copy of the small project, cache included; its default remote is a folder in the test's home."""
    folder = tmp_path / "project"
    shutil.copytree(made, folder)
    return folder
