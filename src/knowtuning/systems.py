"""The systems that are compared, and how each is made: one entry a system.

Training (stages/train.py), predict, verify, evaluate, the report, human evaluation and the study all read
this table. A new baseline is an entry here and its training stage in dvc.yaml (docs/extend.md).
"""

from __future__ import annotations

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
    """How a system is made.

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


def trained() -> dict[str, System]:
    """The systems that have an adapter of their own."""
    return {name: system for name, system in SYSTEMS.items() if system.objective != "none"}


def adapter_of(name: str) -> Path | None:
    """The folder of a system's adapter; None for the base model."""
    return Path("models") / name if name in trained() else None
