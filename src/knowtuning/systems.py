"""The systems that are compared, how each is trained, and whether it is there: one entry a system.

Training (stages/train.py), predict, verify, evaluate, the report, human evaluation and the study all read
these tables. A new baseline is an entry here and its training stage in dvc.yaml (docs/extend.md).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from knowtuning.core.records import Example, Pair, Rewrite
from knowtuning.core.storage import read_json
from knowtuning.core.tables import entry

BASE, MODELS = Path("models/base"), Path("models")


@dataclass(frozen=True)
class Data:
    """A file of records to train on."""

    path: Path
    record: type[Example] | type[Rewrite] | type[Pair]


@dataclass(frozen=True)
class System:
    """How a system is trained.

    label: for tables and the report. objective: sft, supervised fine-tuning of a new adapter on examples and
    rewrites; preference, a loss of training/losses.py on preference pairs; none for the base model. data: of
    the training. section: the params section of its schedule, and the name of its training stage.
    continues: the system whose adapter is trained on and, frozen, is the reference.
    """

    label: str
    objective: Literal["none", "sft", "preference"] = "none"
    data: tuple[Data, ...] = ()
    section: str = ""
    continues: str | None = None


ORIGINALS = Data(Path("data/prepared/train.jsonl"), Example)
REWRITES = Data(Path("data/knowledge/rewrites.jsonl"), Rewrite)
PAIRS = Data(Path("data/knowledge/pairs.jsonl"), Pair)

SYSTEMS: dict[str, System] = {
    "base": System("base model, no fine-tuning"),
    "sft": System("plain fine-tuning, the baseline", "sft", (ORIGINALS,), "train_sft"),
    "ka": System("knowledge augmentation", "sft", (ORIGINALS, REWRITES), "train_ka"),
    "kc": System(
        "knowledge augmentation and comparison, the method", "preference", (PAIRS,), "train_kc", "ka"
    ),
}
# Headlines compare METHOD with BASELINE; differences of all systems are taken to BASELINE.
METHOD, BASELINE = "kc", "sft"


def _continuing(system: str, label: str, baseline: str) -> System:
    """A baseline that continues a system on the pairs that its stage in baselines/dvc.yaml makes."""
    pairs = Data(Path(f"data/baselines/{baseline}/pairs.jsonl"), Pair)
    return System(label, "preference", (pairs,), f"train_{baseline}", system)


# The baselines of the paper and on-policy KC, which a run has where `baselines` of params names them.
ON_SAMPLES: dict[str, System] = {
    "rlaif": _continuing("sft", "DPO on two sampled answers that a judge compares", "rlaif"),
    "facttune_fs": _continuing(
        "sft", "DPO on sampled answers, ranked by their share of supported facts", "facttune_fs"
    ),
    "facttune_mc": _continuing(
        "sft", "DPO on sampled answers, ranked by how sure the base model is of their facts", "facttune_mc"
    ),
    "kc_sampled": _continuing(
        "sft", "knowledge comparison of sampled answers, each against itself made worse", "kc_sampled"
    ),
}
# The method's first version, which a run has, both steps, where `first_version` of params is [kg].
FIRST_VERSION: dict[str, System] = {
    "kg": System(
        "fine-tuning on answers and on knowledge triples, first version of the method",
        "sft",
        (ORIGINALS, Data(Path("data/baselines/kg/rows.jsonl"), Rewrite)),
        "train_kg",
    ),
    "kgkc": _continuing(
        "kg", "knowledge comparison of texts from triples, first version of the method", "kgkc"
    ),
}
ON_REQUEST = ON_SAMPLES | FIRST_VERSION
EVERY = SYSTEMS | ON_REQUEST


def compared(baselines: Collection[str], first_version: Collection[str]) -> dict[str, System]:
    """The systems of a run whose params have these values."""
    wanted = {*SYSTEMS, *baselines, *(FIRST_VERSION if first_version else ())}
    return {name: system for name, system in EVERY.items() if name in wanted}


def trained() -> dict[str, System]:
    """All systems that have an adapter of their own, those on request included."""
    return {name: system for name, system in EVERY.items() if system.objective != "none"}


def is_made(system: str) -> bool:
    """Whether the weights of a system lie in models/: its adapter, or the base model's files."""
    file = "adapter_model.safetensors" if EVERY[system].section else "*.json"
    return any((MODELS / system).glob(file))


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


def adapter_of(name: str) -> Path | None:
    """The folder of a system's adapter; None for the base model.

    Raises ValueError where none lies there (PEFT would ask the hub for a repository of that name), or a
    damaged one.
    """
    if name not in trained():
        return None
    check_made(name)
    return MODELS / name
