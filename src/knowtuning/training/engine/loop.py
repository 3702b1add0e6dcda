"""What SFT and DPO share: arguments of the trainer, one run, and its summary."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from knowtuning.config.training import Schedule
from knowtuning.runtime.machine import Hardware, Processes


@dataclass(frozen=True)
class Summary:
    """What a training run came to. Losses in nats; best_step is the step whose weights were kept."""

    train_rows: int
    eval_rows: int
    train_tokens: int
    steps: int
    first_loss: float
    last_loss: float
    best_step: int
    best_eval_loss: float
    adapter_sha256: str


def arguments(
    params: Schedule,
    hardware: Hardware,
    state: Path,
    *,
    section: str,
    rows: int,
    seed: int,
    packing: bool,
    processes: Processes,
) -> dict[str, Any]:
    """Keyword arguments common to SFTConfig and DPOConfig.

    Checkpoints go to `state`, where `checkpoints` keeps the last and the best of them. Each step that
    evaluates also saves, so that the best one exists. Fewer rows than params.batch make one step an epoch.
    Batches are drawn at random, as in the paper; where they are padded (not `packing`), rows of similar
    length go together.
    """
    if params.batch % processes.count:
        raise ValueError(
            f"{section}.batch is {params.batch}; expected a multiple of the {processes.count} processes"
        )
    if processes.count > 1 and not packing:
        raise ValueError(
            f"{section}: this model cannot share a prompt among completions, so it trains in one process; "
            f"start it with `python -m stages.{section}`"
        )
    # A step's rows, and those of one pass, in each process.
    share = -(-min(params.batch, rows) // processes.count)
    micro = min(share, hardware.micro_batch or share)
    if share % micro and rows >= params.batch:
        raise ValueError(
            f"KNOWTUNING_MICRO_BATCH is {micro}; expected a divisor of {section}.batch = {params.batch} "
            f"over {processes.count} processes"
        )
    # The Trainer reads a share below 1 as a share of the steps, but 1 as every step.
    every = min(params.eval_every, 1 - 1e-9)
    return {
        "output_dir": str(state),
        "per_device_train_batch_size": micro,
        "per_device_eval_batch_size": micro,
        "gradient_accumulation_steps": -(-share // micro),
        "learning_rate": params.lr,
        "num_train_epochs": params.epochs,
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
        "logging_nan_inf_filter": False,
        "train_sampling_strategy": "random" if packing else "group_by_length",
        "bf16": hardware.precision == "bfloat16",
        "use_cpu": hardware.device == "cpu",
        "activation_checkpointing": hardware.device != "cpu",
        "dataloader_pin_memory": hardware.device != "cpu",
        "seed": seed,
        "report_to": "none",
        "disable_tqdm": True,
    }


def one_device(config: Any) -> Any:
    """The trainer's arguments, held to one card.

    On a machine with several the Trainer would copy the model to all of them and multiply the batch by
    their number.
    """
    config._n_gpu = min(1, config.n_gpu)
    return config


def summarise(trainer: Any, *, train_tokens: int, adapter_sha256: str) -> Summary:
    """The summary of a finished trainer."""
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    return Summary(
        train_rows=len(trainer.train_dataset),
        eval_rows=len(trainer.eval_dataset),
        train_tokens=train_tokens,
        steps=trainer.state.global_step,
        first_loss=round(float(losses[0]), 6),
        last_loss=round(float(losses[-1]), 6),
        best_step=int(trainer.state.best_global_step or trainer.state.global_step),
        best_eval_loss=round(float(trainer.state.best_metric), 6),
        adapter_sha256=adapter_sha256,
    )
