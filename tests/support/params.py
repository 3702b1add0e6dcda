"""params.yaml of this checkout, and copies of it with other values."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from experiments.catalogue import applied
from knowtuning.core.params import read_yaml
from tests.support.checkout import ROOT

PARAMS = read_yaml(ROOT / "params.yaml")


def write_params(folder: Path, changes: Mapping[str, Any] | None = None) -> Path:
    """params.yaml in `folder` with some values, by their dotted keys, replaced."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "params.yaml"
    path.write_text(yaml.safe_dump(applied(PARAMS, dict(changes or {})), sort_keys=False), encoding="utf-8")
    return path
