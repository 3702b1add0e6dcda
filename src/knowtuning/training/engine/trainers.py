"""TRL's trainers on rows that are token ids already, without padding where the model allows it.

Prompt and completion are never tokenised together, so that their boundary cannot move. On a model that
computes trees exactly (knowtuning.likelihood) a batch is packed: completions share their prompt, short rows
share one, and the output head sees completion positions alone. On other models TRL pads the batch and
computes the loss.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import torch
from datasets import Dataset
from torch.nn.functional import logsigmoid
from torch.utils.data import DataLoader
from trl.trainer.dpo_trainer import DPOTrainer
from trl.trainer.sft_trainer import SFTTrainer

from knowtuning.likelihood import Likelihood, answer_logps
from knowtuning.packing import Batch, Layout, Tree, lay_out
from knowtuning.runtime.machine import Processes
from knowtuning.training.engine.rows import PairRow, Row, pair_tree, row_tree
from knowtuning.training.engine.shares import IDLE, ShareLoader, Shares

# Columns of a packed batch that are not the batch itself.
REFERENCE = ("ref_chosen_logps", "ref_rejected_logps")


Layouts = Callable[[Sequence[Tree]], Layout]


def packs(likelihood: Likelihood, trees: Sequence[Tree]) -> Layouts | None:
    """How to lay out batches of trees, if the model (with its adapter) computes all of `trees` exactly so."""
    return likelihood.layout if all(map(likelihood.shares, trees)) else None


def row_dataset(rows: Sequence[Row]) -> Dataset:
    """A dataset of rows, in the columns TRL knows."""
    return Dataset.from_dict(
        {"input_ids": [row.input_ids for row in rows], "labels": [row.labels for row in rows]}
    )


def pair_dataset(rows: Sequence[PairRow], chosen: Sequence[float], rejected: Sequence[float]) -> Dataset:
    """A dataset of pairs with their reference log-probabilities (nats), in the columns TRL knows."""
    return Dataset.from_dict(
        {
            "prompt_ids": [row.prompt_ids for row in rows],
            "chosen_ids": [row.chosen_ids for row in rows],
            "rejected_ids": [row.rejected_ids for row in rows],
            "ref_chosen_logps": list(chosen),
            "ref_rejected_logps": list(rejected),
            "length": [len(row.prompt_ids) + max(len(row.chosen_ids), len(row.rejected_ids)) for row in rows],
        }
    )


def _collator(tree_of: Callable[[dict[str, Any]], Tree], layout: Layouts) -> Callable[..., dict[str, Any]]:
    """Examples of a dataset -> the tensors of a packed batch, and the reference where they have one."""

    def collate(examples: list[dict[str, Any]]) -> dict[str, Any]:
        trees = [tree_of(example) for example in examples]
        tensors: dict[str, Any] = lay_out(trees, layout(trees)).tensors()
        known = [name for name in REFERENCE if name in examples[0]]
        tensors |= {name: torch.tensor([example[name] for example in examples]) for name in known}
        if examples[0].get(IDLE):
            tensors |= {"counts": torch.zeros(1), "shift_labels": tensors["labels"][:0]}
        else:
            # The Trainer counts the tokens of a step by this name; `labels` would lose its first one.
            tensors |= {"counts": torch.ones(1), "shift_labels": tensors["labels"]}
        return tensors

    return collate


def average(gradients: Iterable[torch.Tensor | None]) -> None:
    """Replace gradients, of the same tensors in each process, by their means over the processes."""
    present = [gradient for gradient in gradients if gradient is not None]
    flat = torch.cat([gradient.flatten() for gradient in present])
    torch.distributed.all_reduce(flat)
    flat /= torch.distributed.get_world_size()
    for gradient, mean in zip(present, torch.split(flat, [g.numel() for g in present]), strict=True):
        gradient.copy_(mean.view_as(gradient))


def _batch(inputs: dict[str, Any]) -> Batch:
    return Batch(**{name: inputs[name] for name in Batch.__dataclass_fields__})


class _Shared:
    """What both trainers do their own way: packed batches, data of several processes, and no model cards."""

    tree_of: Callable[[dict[str, Any]], Tree]

    def __init__(self, *, packing: Layouts | None, processes: Processes, **options: Any) -> None:
        self.packing, self.processes = packing, processes
        if packing:
            options["data_collator"] = _collator(self.tree_of, packing)
            answer_logps(options["model"].get_base_model())
        # A model card with each checkpoint takes as long to render as the adapter to save.
        options["model"].create_or_update_model_card = lambda *_: None
        super().__init__(**options)
        # Without a wrapper: weights are frozen and may be split, and the gradients of an adapter are few.
        accelerator: Any = self.accelerator  # type: ignore[attr-defined]
        accelerator.prepare_model = partial(accelerator.prepare_model, evaluation_mode=True)

    def training_step(self: Any, *arguments: Any, **options: Any) -> Any:
        """One micro-batch; the last one of a step averages the gradients over the processes."""
        loss = super().training_step(*arguments, **options)  # type: ignore[misc]
        if self.processes.count > 1 and self.accelerator.sync_gradients:
            average(parameter.grad for parameter in self.model.parameters() if parameter.requires_grad)
        return loss

    def create_model_card(self, *_: Any, **__: Any) -> None:
        """None, as none of the adapter."""

    def get_train_dataloader(self: Any) -> Any:
        if self.processes.count == 1:
            return super().get_train_dataloader()  # type: ignore[misc]
        args = self.args
        micro = args.per_device_train_batch_size
        batch = micro * args.gradient_accumulation_steps * self.processes.count
        shares = Shares(len(self.train_dataset), batch, micro, args.seed, self.processes)
        return ShareLoader(self.train_dataset, shares, self.data_collator)

    def get_eval_dataloader(self: Any, *rest: Any) -> Any:
        if self.processes.count == 1:
            return super().get_eval_dataloader(*rest)  # type: ignore[misc]
        # Few rows: all of them in every process, so that all know the same loss.
        size = self.args.per_device_eval_batch_size
        return DataLoader(self.eval_dataset, batch_size=size, collate_fn=self.data_collator)

    def weigh(self: Any, loss: Any, rows: int) -> Any:
        """The validation loss of a batch, so that the Trainer's mean over batches is one over rows.

        Of one process it leaves out what goes beyond the rows in the last batch; of several it cannot know.
        """
        if self.processes.count == 1:
            return loss
        size = self.args.per_device_eval_batch_size
        batches = -(-len(self.eval_dataset) // size)
        return loss * (rows * batches / len(self.eval_dataset))


class RowTrainer(_Shared, SFTTrainer):
    """Mean NLL of the completion tokens. Its validation loss is a mean over tokens, whatever the batches."""

    @staticmethod
    def tree_of(example: dict[str, Any]) -> Tree:
        return row_tree(Row("", "", example["input_ids"], example["labels"]))

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        held_out: Any = self.eval_dataset
        labels = [label >= 0 for row in held_out["labels"] for label in row]
        self.eval_tokens_a_row = sum(labels) / len(held_out)

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        if not self.packing:
            return super().compute_loss(  # type: ignore[no-untyped-call]
                model, inputs, return_outputs, num_items_in_batch
            )
        batch = _batch(inputs)
        nll = -model(logps_of=batch).sum() * inputs["counts"].sum()
        if not model.training:
            # The Trainer averages over rows: this makes it the mean over tokens.
            rows = int(batch.tree.max() + 1)
            return self.weigh(nll / (rows * self.eval_tokens_a_row), rows)
        tokens = batch.labels.numel() if num_items_in_batch is None else num_items_in_batch
        # Distributed training averages the processes' gradients, and a step's tokens are those of all.
        spread = self.accelerator.num_processes if num_items_in_batch is not None else 1
        return nll / tokens * spread


class PairTrainer(_Shared, DPOTrainer):
    """DPO(beta) + gamma · NLL(chosen), with reference log-probabilities computed beforehand.

    TRL would compute them in file order with a cache whose key leaves out the adapter's scale.
    """

    @staticmethod
    def tree_of(example: dict[str, Any]) -> Tree:
        columns = ("prompt_ids", "chosen_ids", "rejected_ids")
        return pair_tree(PairRow("", "", *(example[name] for name in columns)))

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        # Said by `precompute_ref_log_probs`, TRL would hash all weights for the key of its cache.
        self.precompute_ref_logps = True

    def _prepare_dataset(self, dataset: Any, *_: Any, **__: Any) -> Any:
        return dataset

    def _set_signature_columns_if_needed(self) -> None:
        super()._set_signature_columns_if_needed()  # type: ignore[no-untyped-call]
        # The length-grouped sampler reads this column; the collators leave it alone.
        columns: Any = self._signature_columns
        if "length" not in columns:
            columns.append("length")

    def _compute_loss(self, model: Any, inputs: dict[str, Any], return_outputs: bool) -> Any:
        if not self.packing:
            return super()._compute_loss(model, inputs, return_outputs)  # type: ignore[no-untyped-call]
        batch = _batch(inputs)
        logps = model(logps_of=batch)
        reference = torch.stack([inputs[name] for name in REFERENCE], dim=1).to(logps)
        sums = logps.new_zeros(reference.numel()).index_add(0, batch.branch, logps).view_as(reference)
        rewards = self.beta * (sums - reference)
        margins = rewards[:, 0] - rewards[:, 1]
        chosen = logps[batch.branch % 2 == 0]
        counts = inputs["counts"].sum()
        # Means over the pairs and the chosen tokens of all processes, whose gradients are averaged.
        sizes = torch.stack([counts * len(margins), counts * len(chosen)])
        pairs, tokens = self._of_all(sizes, model.training)
        loss = -logsigmoid(margins).sum() / pairs
        if self.loss_types[1:] == ["sft"]:
            loss = loss - self.loss_weights[1] * (chosen.sum() / tokens)
        sums = torch.stack([*rewards.sum(dim=0), margins.sum(), (margins > 0).sum()]).detach() * counts
        names = ("rewards/chosen", "rewards/rejected", "rewards/margins", "rewards/accuracies")
        kept = self._metrics["train" if model.training else "eval"]
        for name, value in zip(names, self._of_all(sums, model.training) / pairs, strict=True):
            kept[name].append(value.item())
        if not model.training:
            return self.weigh(loss, len(margins))
        return loss * counts * self.accelerator.num_processes

    def _of_all(self, values: torch.Tensor, training: bool) -> torch.Tensor:
        """The sum over the processes, which train on shares of a batch but evaluate all of it."""
        return self.accelerator.gather(values[None]).sum(dim=0) if training else values
