"""What SFT and DPO share: the arguments of TRL's trainers, and the summary of a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from knowtuning.config.training import Schedule
from knowtuning.model import memory
from knowtuning.model.batches import step_order
from knowtuning.model.hardware import ALONE, Hardware, Processes
from knowtuning.training.rows import PairRow, Row

Rows: TypeAlias = "Sequence[Row] | Sequence[PairRow]"


@dataclass(frozen=True)
class TrainingRun:
    """Where a training runs. section: of params.yaml. state: folder for checkpoints and the reference."""

    section: str
    hardware: Hardware
    state: Path
    seed: int
    processes: Processes = ALONE


@dataclass(frozen=True)
class TrainingSummary:
    """What a training run came to. Losses in nats; best_step is the step whose weights were kept.

    train_tokens: of an epoch. trained_tokens: of all steps, prompts and both sides of pairs included.
    """

    train_rows: int
    eval_rows: int
    train_tokens: int
    trained_tokens: int
    steps: int
    first_loss: float
    last_loss: float
    best_step: int
    best_eval_loss: float
    adapter_sha256: str


def order_of(rows: Rows, params: Schedule, seed: int) -> list[int]:
    """The rows of all steps, see `step_order`; fewer rows than params.batch make one step an epoch."""
    return step_order(_lengths(rows), min(params.batch, len(rows)), params.epochs, seed)


def _lengths(rows: Rows) -> list[int]:
    """Tokens of the longest sequence of each row."""
    return [len(row.prompt) + max(map(len, row.completions)) for row in rows]


def training_arguments(
    rows: Rows, order: Sequence[int], params: Schedule, run: TrainingRun, config: Any
) -> dict[str, Any]:
    """Keyword arguments common to SFTConfig and DPOConfig.

    order: the rows in their order of training (`order_of`). config: the model's. Each step that evaluates
    also saves, so that the best checkpoint exists.
    """
    hardware, count = run.hardware, run.processes.count
    batch = min(params.batch, len(rows))
    if batch % count:
        raise ValueError(
            f"{run.section}: {batch} rows a step ({run.section}.batch, or all there are); expected a "
            f"multiple of the {count} processes"
        )
    share, lengths = batch // count, _lengths(rows)
    ordered = [lengths[index] for index in order]
    plan = memory.plan(ordered, share, config, hardware, sequences=len(rows[0].completions))
    if share % plan.micro_batch:
        raise ValueError(
            f"KNOWTUNING_MICRO_BATCH is {plan.micro_batch}; expected a divisor of the {share} rows that a "
            f"step of {run.section} has in each process"
        )
    # The Trainer reads a share below 1 as a share of the steps, but 1 as every step.
    every = min(params.eval_every, 1 - 1e-9)
    return {
        "output_dir": str(run.state),
        "per_device_train_batch_size": plan.micro_batch,
        # One by one where several processes share them: what fills up the last round is then left out
        # exactly.
        "per_device_eval_batch_size": plan.micro_batch if count == 1 else 1,
        "gradient_accumulation_steps": share // plan.micro_batch,
        "activation_checkpointing": plan.checkpointing,
        # The data set holds the rows of all epochs in their order.
        "num_train_epochs": 1,
        "train_sampling_strategy": "sequential",
        "learning_rate": params.lr,
        "lr_scheduler_type": params.schedule,
        "warmup_steps": params.warmup,
        "weight_decay": params.weight_decay,
        "max_grad_norm": params.max_grad_norm,
        "eval_strategy": "steps",
        "eval_steps": every,
        "save_strategy": "steps",
        "save_steps": every,
        "load_best_model_at_end": True,
        "metric_for_best_model": "eval_loss",
        "logging_steps": min(0.02, every),
        "logging_first_step": True,
        # Its filter would wait for the device at every step.
        "logging_nan_inf_filter": False,
        "accelerator_config": {"non_blocking": hardware.device == "cuda"},
        "dataloader_pin_memory": hardware.device == "cuda",
        "bf16": hardware.precision == "bfloat16",
        "use_cpu": hardware.device == "cpu",
        "remove_unused_columns": False,
        "max_length": None,
        "seed": run.seed,
        "report_to": "none",
        "disable_tqdm": True,
    }


def summarise(trainer: Any, rows: Rows, order: Sequence[int], adapter_sha256: str) -> TrainingSummary:
    """The summary of a finished trainer; rows: those of an epoch; order: of all steps (`order_of`)."""
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    return TrainingSummary(
        train_rows=len(rows),
        eval_rows=len(trainer.eval_dataset),
        train_tokens=sum(row.tokens for row in rows),
        trained_tokens=sum(rows[index].tokens for index in order),
        steps=trainer.state.global_step,
        first_loss=round(float(losses[0]), 6),
        last_loss=round(float(losses[-1]), 6),
        best_step=int(trainer.state.best_global_step or trainer.state.global_step),
        best_eval_loss=round(float(trainer.state.best_metric), 6),
        adapter_sha256=adapter_sha256,
    )
