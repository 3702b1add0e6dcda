"""The systems that are compared, and how each is trained: one entry a system.

Training (stages/train.py), predict, verify, evaluate, the report, human evaluation and the study all read
these tables. A new baseline is an entry here and its training stage in dvc.yaml (docs/extend.md).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from knowtuning.core.records import Example, Pair, Rewrite


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


def adapter_of(name: str) -> Path | None:
    """The folder of a system's adapter; None for the base model.

    Raises ValueError where nothing lies there: PEFT would ask the hub for a repository of that name.
    """
    if name not in trained():
        return None
    folder = Path("models") / name
    if not (folder / "adapter_config.json").is_file():
        stage = trained()[name].section
        raise ValueError(f"{folder}: {name} has not been trained; run `dvc repro {stage}`, or `dvc pull`")
    return folder
