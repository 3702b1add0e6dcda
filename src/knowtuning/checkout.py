"""What this checkout has made: which systems are there, and the one line that says how to make one."""

from __future__ import annotations

from pathlib import Path

from knowtuning.core.tables import entry
from knowtuning.systems import EVERY, FIRST_VERSION, ON_REQUEST

BASE, MODELS = Path("models/base"), Path("models")


def is_made(system: str) -> bool:
    """Whether the weights of a system lie in models/: its adapter, or the base model's files."""
    file = "adapter_config.json" if EVERY[system].section else "*.json"
    return any((MODELS / system).glob(file))


def made() -> list[str]:
    """The systems whose weights are there, in the order of the table."""
    return [system for system in EVERY if is_made(system)]


def check_made(system: str) -> None:
    """Raise ValueError, with the stage to run, for a system that no table has or that is not trained yet."""
    section = entry(EVERY, system, "system").section or "base"
    if not is_made(system):
        how = f"run `dvc repro {section}`"
        if system in ON_REQUEST:
            key = "set `first_version: [kg]` in" if system in FIRST_VERSION else "name it in `baselines` of"
            how = f"{key} params.yaml and run `dvc repro`"
        raise ValueError(f"models/{system}: {system} has not been trained; {how}, or `dvc pull`")
