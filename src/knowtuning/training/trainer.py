"""Training of LoRA adapters: TRL's trainers, with the losses of losses.py.

Prompt and completion are never tokenised together, so that their boundary cannot move. The rows of a step are
drawn at random (batches.py) and go through the model in micro-batches of like length, padded on the right and
without a mask, which leaves attention to the fastest kernel there is. A step's result depends neither on the
micro-batch nor on padding. Between two logs nothing of ours waits for the device.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing, nullcontext
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from datasets import Dataset
from transformers import PrinterCallback
from trl.trainer.dpo_config import DPOConfig
from trl.trainer.dpo_trainer import DPOTrainer
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

from knowtuning.config.training import LoraParams, PreferenceParams, Schedule
from knowtuning.core.storage import digest, read_json, write_json
from knowtuning.model.batches import padded, right_padded
from knowtuning.model.load import load_base, load_tokenizer
from knowtuning.training import losses
from knowtuning.training.adapters import adapter_hash, new_adapter, save_adapter, trained_adapter
from knowtuning.training.arguments import (
    Rows,
    TrainingRun,
    TrainingSummary,
    order_of,
    summarise,
    training_arguments,
)
from knowtuning.training.callbacks import Checkpoints, Curves, ProgressBar, StopOnNaN, newest
from knowtuning.training.logps import add_head, completion_token_logps, token_logps
from knowtuning.training.rows import PairRow, Row, split_rows

Reference = Literal["adapter", "base"]


def collate_rows(rows: Sequence[Mapping[str, Any]], padding: int) -> dict[str, torch.Tensor]:
    """A micro-batch of supervised fine-tuning."""
    return padded([(row["prompt"], row["completion"]) for row in rows], padding)


def collate_pairs(rows: Sequence[Mapping[str, Any]], padding: int) -> dict[str, torch.Tensor]:
    """A micro-batch of pairs: the chosen sequences, then the rejected ones.

    weights (2 · pairs, longest): 0 where no completion is. offset (pairs,). reference_logps (2 · pairs,).
    """
    sides = ("chosen", "rejected")
    batch = padded([(row["prompt"], row[side]) for side in sides for row in rows], padding)
    weights = [[*[0.0] * len(row["prompt"]), *row[f"{side}_weights"]] for side in sides for row in rows]
    batch["weights"] = right_padded(weights, 0.0)
    batch["offset"] = torch.tensor([row["offset"] for row in rows])
    if "reference_chosen" in rows[0]:
        values = [row[f"reference_{side}"] for side in sides for row in rows]
        batch["reference_logps"] = torch.tensor(values)
    return batch


class DeviceMetrics:
    """Sums and counts of metrics, which stay on the device until they are logged."""

    def note(self: Any, values: Mapping[str, torch.Tensor]) -> None:
        """Add values, one for each row of the micro-batch, to the metrics of those names."""
        metrics = self._metrics["train" if self.model.training else "eval"]
        state = self.accelerator.gradient_state
        # In the last round of validation some processes have a row that only fills it up.
        last = not self.model.training and state.end_of_dataloader
        fills = last and 0 < state.remainder <= self.accelerator.process_index
        for name, rows in values.items():
            rows = rows.detach().double()
            metrics[name].append(torch.stack([rows.sum(), torch.ones_like(rows).sum()]) * (not fills))

    def log(self: Any, logs: dict[str, float], start_time: float | None = None) -> None:
        """Turn them into the means over all rows of all processes since the last log."""
        metrics = self._metrics["train" if self.model.training else "eval"]
        for name, parts in metrics.items():
            total, count = self.accelerator.gather(torch.stack(parts).sum(dim=0)[None]).sum(dim=0).tolist()
            metrics[name] = [total / count]
        super().log(logs, start_time)  # type: ignore[misc]

    def create_model_card(self, *_: Any, **__: Any) -> None:
        """None: with each checkpoint it would take as long as the adapter."""


class RowTrainer(DeviceMetrics, SFTTrainer):
    """Mean negative log-likelihood of the completion tokens of a step; in validation, of all rows."""

    # The loss is a share of the whole step's.
    loss_is_scaled_for_ga = True  # type: ignore[assignment]

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        held_out: Any = self.eval_dataset
        self.eval_tokens = sum(len(row["completion"]) for row in held_out) / len(held_out)

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        with self.accelerator.autocast():
            logps = token_logps(model, inputs["input_ids"], inputs["labels"])
        if not logps.requires_grad:
            # The Trainer takes means over rows: this makes them one over tokens, whatever the batches.
            return losses.nll(logps, len(logps) * self.eval_tokens)
        # The tokens of the step are those of all processes, over which gradients are averaged.
        return losses.nll(logps, num_items_in_batch) * self.accelerator.num_processes


class PairTrainer(DeviceMetrics, DPOTrainer):
    """loss + gamma · NLL(chosen), both means over pairs (paper, 3.3, where the loss is DPO's).

    loss: a name of losses.LOSSES. NLL(chosen) is a mean over each answer's tokens, as in the released code's
    framework.
    """

    def __init__(self, *, loss: str, gamma: float, **options: Any) -> None:
        super().__init__(**options)
        self.loss, self.gamma = losses.LOSSES[loss], gamma

    def _prepare_dataset(self, dataset: Any, *_: Any, **__: Any) -> Any:
        """As it is: TRL would tokenise texts."""
        return dataset

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        labels, weights = inputs.pop("labels"), inputs.pop("weights")[:, 1:]
        offset = inputs.pop("offset")
        with self.accelerator.autocast():
            logps = token_logps(model, inputs["input_ids"], labels)
        reference = inputs.get("reference_logps")
        if reference is None:  # weights are split: TRL switches to its frozen copy of the adapter
            reference = torch.cat(self.compute_ref_log_probs(model, inputs))  # type: ignore[no-untyped-call]
        counted = inputs["completion_mask"][:, 1:]
        sums, tokens = (logps * weights).sum(dim=1).chunk(2), weights.sum(dim=1).chunk(2)
        pairs = losses.PairLogps(*sums, *reference.chunk(2), *tokens, offset=offset)
        chosen, rejected = pairs.rewards(self.beta)
        metrics = {
            "rewards/chosen": chosen,
            "rewards/rejected": rejected,
            "rewards/margins": chosen - rejected,
            "rewards/accuracies": chosen > rejected,
            "logps/chosen": pairs.policy_chosen,
            "logps/rejected": pairs.policy_rejected,
            "tokens/chosen": pairs.chosen_tokens,
            "tokens/rejected": pairs.rejected_tokens,
        }
        self.note(metrics)
        likelihood = losses.mean_nll(logps.chunk(2)[0], counted.chunk(2)[0])
        values = self.loss(pairs, self.beta)
        if values.shape != likelihood.shape:
            shapes = f"{tuple(values.shape)}, expected a loss of each pair, {tuple(likelihood.shape)}"
            raise ValueError(f"the loss that `loss` names in params.yaml gives the shape {shapes}")
        return (values + self.gamma * likelihood).mean()


def reference_logps(
    model: Any, rows: Sequence[PairRow], reference: Reference, run: TrainingRun
) -> list[list[float]]:
    """Summed log-probabilities (nats) of chosen and rejected of each pair, before any training step.

    model: with its adapter. `adapter`: as it stands. `base`: with the adapter switched off, as the
    released code's framework does (Deviation from the paper, kept for comparison). Processes share the work.
    """
    # The chosen answer of a question stands in a pair of each aspect: it is read once, whatever counts there.
    texts = {digest(row.prompt, text): (row.prompt, text) for row in rows for text in row.completions}
    share = run.processes.share(list(texts))
    was_training = model.training
    model.eval()
    frozen = model.disable_adapter() if reference == "base" else nullcontext()
    with frozen, run.hardware.autocast():
        read = [texts[key] for key in share]
        values = completion_token_logps(
            model, read, run.hardware.forward_tokens, title=f"{run.section}: reference"
        )
    model.train(was_training)
    logps = run.processes.union(dict(zip(share, values, strict=True)))
    return [
        [
            float(logps[digest(row.prompt, text)].double() @ torch.tensor(weights).double())
            for text, weights in zip(row.completions, row.weights, strict=True)
        ]
        for row in rows
    ]


def kept_logps(
    model: Any, rows: Sequence[PairRow], reference: Reference, run: TrainingRun
) -> list[list[float]]:
    """Like reference_logps, but from a file in the folder of the run's state, which the first call writes.

    The folder's name is a hash of adapter, pairs, tokenizer and settings (resume.py).
    """
    path = run.state / f"reference-{digest([row.id for row in rows])[:16]}.json"
    if not run.processes.agreed(path.exists()):
        result = reference_logps(model, rows, reference, run)
        if run.processes.first:
            write_json(path, result)
        run.processes.wait()
    kept: list[list[float]] = read_json(path)
    return kept


def _base_for_training(base: Path, run: TrainingRun) -> Any:
    """The base model; where Accelerate is to split it, on the CPU."""
    device = "cpu" if run.processes.sharded else run.hardware.device
    model = load_base(base, dtype=run.hardware.weights_dtype, device=device)
    add_head(model)
    return model


def _fit(
    trainer: Any, run: TrainingRun, rows: Rows, order: Sequence[int], curves: Path, out: Path
) -> TrainingSummary:
    """Run the trainer to its end, from where a killed run was, and write the adapter; order: of all rows."""
    from peft.helpers import disable_input_dtype_casting

    trainer.remove_callback(PrinterCallback)
    # TRL has added a head that also computes entropies and the like, in each pass.
    add_head(trainer.model)
    trainer.add_callback(StopOnNaN(run.section))
    progress = ProgressBar(run.section, sum(rows[index].tokens for index in order))
    if run.processes.first:
        trainer.add_callback(progress)
        trainer.add_callback(Curves(curves))
    # Adapters are float32: PEFT would cast the input of each to it, and autocast would cast it back.
    uncast = disable_input_dtype_casting(trainer.model, active=run.hardware.precision == "bfloat16")
    trainer.add_callback(Checkpoints(run.state, run.hardware.save_seconds, run.processes))
    checkpoint = run.processes.agreed(newest(run.state) if run.processes.first else None)
    with closing(progress), uncast:
        trainer.train(resume_from_checkpoint=checkpoint and str(checkpoint))
    model = trainer.accelerator.unwrap_model(trainer.model)
    weights = trainer.accelerator.get_state_dict(trainer.model) if run.processes.sharded else None
    if run.processes.first:
        save_adapter(model, out, weights)
    return summarise(trainer, rows, order, adapter_hash(model, weights=weights))


def _trainer(
    kind: Any, config: Any, collate: Any, model: Any, base: Path, columns: Sequence[Any], order: Sequence[int]
) -> Any:
    """A trainer of some kind; columns: rows of training, which come in this order, and of validation."""
    # On a machine with several cards one process would copy the model to all.
    config._n_gpu = min(1, config.n_gpu)
    tokenizer = load_tokenizer(base)
    return kind(
        model=model,
        args=config,
        data_collator=partial(collate, padding=tokenizer.pad_token_id),
        train_dataset=Dataset.from_list(columns[0]).select(order),
        eval_dataset=Dataset.from_list(columns[1]),
        processing_class=tokenizer,
    )


def train_sft(
    rows: Sequence[Row],
    base: Path,
    out: Path,
    curves: Path,
    *,
    params: Schedule,
    lora: LoraParams,
    run: TrainingRun,
) -> TrainingSummary:
    """Train a new adapter on `rows` and save that of the best step to `out`; the curves go to `curves`.

    The loss is the mean NLL of completion tokens (paper, 3.2). Of several processes the first writes. Raises
    ValueError when there are too few rows or the loss is no number.
    """
    train, held_out = split_rows(
        rows, params.eval_rows, run.seed, section=run.section, source="data/prepared"
    )
    torch.manual_seed(run.seed)
    model = new_adapter(_base_for_training(base, run), lora, float32=not run.processes.sharded)
    order = order_of(train, params, run.seed)
    arguments = training_arguments(train, order, params, run, model.config)
    config = SFTConfig(**arguments, dataset_kwargs={"skip_prepare_dataset": True})
    columns = [[vars(row) for row in part] for part in (train, held_out)]
    trainer = _trainer(RowTrainer, config, collate_rows, model, base, columns, order)
    return _fit(trainer, run, train, order, curves, out)


def train_preference(
    rows: Sequence[PairRow],
    base: Path,
    adapter: Path,
    out: Path,
    curves: Path,
    *,
    params: PreferenceParams,
    run: TrainingRun,
) -> tuple[TrainingSummary, str]:
    """Continue the adapter of the folder `adapter` on preference pairs; save that of the best step to `out`.

    Returns the summary and the hash of the reference adapter ("none" for the base model). The reference is
    computed beforehand, but where weights are split in each step.
    """
    section = run.section
    source = "its pairs and, for those of perturb, perturb.aspects"
    train, held_out = split_rows(rows, params.eval_rows, run.seed, section=section, source=source)
    order = order_of(train, params, run.seed)
    # Less than an epoch leaves rows out: they need no reference.
    drawn = {old: new for new, old in enumerate(sorted(set(order)))}
    train = [train[index] for index in drawn]
    order = [drawn[index] for index in order]
    torch.manual_seed(run.seed)
    model = trained_adapter(_base_for_training(base, run), adapter, float32=not run.processes.sharded)
    continued = adapter_hash(model)
    parts = (train, held_out)
    columns = [[vars(row) for row in part] for part in parts]
    if not run.processes.sharded:
        columns = [with_reference(part, kept_logps(model, part, params.reference, run)) for part in parts]
    elif (params.reference, params.counted) != ("adapter", "all"):
        raise ValueError(
            f"{section}.reference is {params.reference} and {section}.counted {params.counted}; expected "
            "adapter and all where the weights are split"
        )
    config = DPOConfig(**training_arguments(train, order, params, run, model.config), beta=params.beta)
    kind = partial(PairTrainer, loss=params.loss, gamma=params.gamma)
    trainer = _trainer(kind, config, collate_pairs, model, base, columns, order)
    summary = _fit(trainer, run, train, order, curves, out)
    if not run.processes.sharded:
        # The policy moved, its frozen copy did not: the reference was the adapter we started from.
        assert adapter_hash(trainer.model, "ref") == continued
    return summary, "none" if params.reference == "base" else continued


def with_reference(rows: Sequence[PairRow], logps: Sequence[Sequence[float]]) -> list[dict[str, Any]]:
    """Pairs with their reference log-probabilities (nats), as columns."""
    return [
        {**vars(row), "reference_chosen": chosen, "reference_rejected": rejected}
        for row, (chosen, rejected) in zip(rows, logps, strict=True)
    ]
