"""One folder for the copies of metrics: Python imports them all from the first one that a process names."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cache of the `evaluate` library."""
    return tmp_path_factory.mktemp("evaluate")
