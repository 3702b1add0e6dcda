"""A few rows and pairs, settings under which a tiny model learns them, and its curves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from knowtuning.config.training import LoraParams, PreferenceParams, Schedule
from knowtuning.core.records import Example
from knowtuning.model.hardware import Hardware
from knowtuning.model.load import load_tokenizer
from knowtuning.model.prompt import Formatter
from knowtuning.training.arguments import TrainingRun, TrainingSummary
from knowtuning.training.rows import PairRow, Row, RowEncoder
from tests.support.records import preference_pair

CPU = Hardware(device="cpu", precision="float32", batch_tokens=512)
LORA = LoraParams(r=4, alpha=8, dropout=0.0, targets="all-linear")
TOWNS = [("Aford", "tin"), ("Bham", "wool"), ("Cwick", "salt"), ("Dmere", "flax"), ("Eton", "cork")]


def schedule(**changes: Any) -> dict[str, Any]:
    """The keys that SFT and KC share."""
    return {
        "lr": 0.01,
        "epochs": 4.0,
        "batch": 4,
        "schedule": "cosine",
        "warmup": 0.0,
        "weight_decay": 0.0,
        "max_grad_norm": 1.0,
        "eval_rows": 2,
        "eval_every": 0.25,
        "max_rejected": 0.0,
        **changes,
    }


def preference(**changes: Any) -> PreferenceParams:
    """Settings of preference training: `schedule`, and DPO against the adapter that is continued."""
    options = {"loss": "dpo", "counted": "all", "beta": 0.1, "gamma": 0.2, "reference": "adapter"}
    return PreferenceParams(**schedule(**{**options, **changes}))


def encoder(base: Path, max_length: int = 128) -> RowEncoder:
    return RowEncoder(Formatter(load_tokenizer(base), "plain", {}), max_length)


def rows(base: Path) -> list[Row]:
    row = encoder(base).row
    return [
        row(Example(id=f"{t}{n}", question=f"Q{n} {t}?", answer=f"The export of {t} is {v}."))
        for n in range(3)
        for t, v in TOWNS
    ]


def pairs(base: Path) -> list[PairRow]:
    row = encoder(base).row
    return [
        row(preference_pair(f"{t} is {v}.", f"{t} is mud.", source=t, question=f"{t}?", id=t))
        for t, v in TOWNS
    ]


def runs(section: str, state: Path, hardware: Hardware = CPU) -> TrainingRun:
    return TrainingRun(section, hardware, state, seed=1)


def sft(
    base: Path,
    folder: Path,
    hardware: Hardware = CPU,
    *,
    chosen: list[Row] | None = None,
    lora: LoraParams = LORA,
    **changes: Any,
) -> TrainingSummary:
    """Train on `rows`, or those chosen: the adapter `folder`/sft, its curves in plots, its state in state."""
    from knowtuning.training.trainer import train_sft

    return train_sft(
        rows(base) if chosen is None else chosen,
        base,
        folder / "sft",
        folder / "plots",
        params=Schedule(**schedule(**changes)),
        lora=lora,
        run=runs("train_sft", folder / "state", hardware),
    )


def kc(
    base: Path,
    start: Path,
    folder: Path,
    hardware: Hardware = CPU,
    *,
    chosen: list[PairRow] | None = None,
    **changes: Any,
) -> tuple[TrainingSummary, str]:
    """Train on `pairs`, or those chosen, from an adapter on: `folder`/kc and, as `sft`, the rest."""
    from knowtuning.training.trainer import train_preference

    return train_preference(
        pairs(base) if chosen is None else chosen,
        base,
        start,
        folder / "kc",
        folder / "plots",
        params=preference(**changes),
        run=runs("train_kc", folder / "state", hardware),
    )


def micro_batch(rows: int | None) -> Hardware:
    return Hardware("cpu", "float32", micro_batch=rows, batch_tokens=512)


def curve(plots: Path, name: str) -> list[float]:
    """The values of a training curve in a folder that DVCLive wrote."""
    return list(curve_by_step(plots, name).values())


def curve_by_step(plots: Path, name: str) -> dict[int, float]:
    """The same by step."""
    lines = (plots / f"plots/metrics/{name}.tsv").read_text().splitlines()[1:]
    return {int(step): float(value) for step, value in (line.split("\t")[-2:] for line in lines)}
