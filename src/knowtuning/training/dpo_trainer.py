"""TRL's DPO trainer on pairs that are already token ids and carry their reference log-probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from datasets import Dataset
from trl.trainer.dpo_trainer import DPOTrainer

from knowtuning.training.rows import PairRow


class PairTrainer(DPOTrainer):
    """Takes rows as they are.

    TRL would tokenise prompt and completion together, so that the boundary could move, and would compute
    reference log-probabilities in file order with a cache whose key leaves out the adapter's scale.
    """

    def _prepare_dataset(self, dataset: Any, *_: Any, **__: Any) -> Any:
        return dataset

    def _precompute_ref_logps(self, dataset: Any, *_: Any, **__: Any) -> Any:
        return dataset

    def _set_signature_columns_if_needed(self) -> None:
        super()._set_signature_columns_if_needed()  # type: ignore[no-untyped-call]
        # The length-grouped sampler reads this column; the collator leaves it alone.
        columns: Any = self._signature_columns
        if "length" not in columns:
            columns.append("length")


def pair_dataset(rows: Sequence[PairRow], chosen: Sequence[float], rejected: Sequence[float]) -> Dataset:
    """A dataset of pairs with their reference log-probabilities (nats) and lengths (tokens)."""
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
