"""What this checkout has made: which systems are there, and the one line that says how to make one."""

from __future__ import annotations

from pathlib import Path

from knowtuning.core.storage import read_json
from knowtuning.core.tables import entry
from knowtuning.systems import EVERY, FIRST_VERSION, ON_REQUEST

BASE, MODELS = Path("models/base"), Path("models")


def is_made(system: str) -> bool:
    """Whether the weights of a system lie in models/: its adapter, or the base model's files."""
    file = "adapter_model.safetensors" if EVERY[system].section else "*.json"
    return any((MODELS / system).glob(file))


def made() -> list[str]:
    """The systems whose weights are there, in the order of the table."""
    return [system for system in EVERY if is_made(system)]


def check_made(system: str) -> None:
    """Raise ValueError, with the stage to run, for a system that no table has, or that is not trained yet, or
    whose files are damaged."""
    section = entry(EVERY, system, "system").section or "base"
    if not is_made(system):
        how = f"run `dvc repro {section}`"
        if system in ON_REQUEST:
            key = "set `first_version: [kg]` in" if system in FIRST_VERSION else "name it in `baselines` of"
            how = f"{key} params.yaml and run `dvc repro`"
        raise ValueError(f"models/{system}: {system} has not been trained; {how}, or `dvc pull`")
    for path in sorted((MODELS / system).iterdir()):
        try:
            _check_whole(path)
        except ValueError as error:
            back = f"`dvc checkout --force models/{system}` puts back what the cache has"
            raise ValueError(f"{error}; {back}, `dvc repro --force {section}` makes it anew") from error


def _check_whole(path: Path) -> None:
    """Raise ValueError for a JSON file, or one of weights, that was cut off or is another kind of file."""
    if path.suffix == ".json":
        read_json(path)
    elif path.suffix == ".safetensors":
        from safetensors import SafetensorError, safe_open

        try:
            # Reads the header alone, and compares it with the length of the file.
            with safe_open(path, "pt"):
                pass
        except SafetensorError as error:
            raise ValueError(f"{path}: damaged ({error})") from error
