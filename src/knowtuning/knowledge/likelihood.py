"""Log-probabilities of facts given their question under a causal language model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from knowtuning.knowledge.rows import Row, make_batch

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

# Rows of logits held at a time: vocabularies have up to 260k entries, 4 bytes each.
_CHUNK = 512
# What two ways of computing the same summed log-probability may differ by, per token (nats).
_TOLERANCE = {"float64": 1e-4, "float32": 1e-4, "float16": 0.05, "bfloat16": 0.3}


class Likelihood:
    """Sums log-probabilities of facts.

    `shared` says whether the model computes a row of facts behind one prompt exactly; where it does
    not (it takes no block mask or no positions, or it rescales its logits), each fact runs with its own
    prompt. `window` is the reach of its attention in tokens (None: all); rows with a longer context run
    fact by fact too, since the block mask replaces the model's own.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        # transformers types few of its methods.
        self.model: Any = model
        self.window = attention_window(model.config)
        self.shared = self._agrees()

    def shares(self, row: Row) -> bool:
        """Whether the facts of `row` can run behind one prompt."""
        return self.shared and (self.window is None or row.longest <= self.window)

    def logps(self, rows: Sequence[Row]) -> list[list[float]]:
        """Summed log-probability of each fact (nats) of each row; the rows run together where they can."""
        if all(self.shares(row) for row in rows):
            return self._together(rows)
        return [self.one_by_one(row) for row in rows]

    def processed(self, rows: Sequence[Row]) -> int:
        """Tokens that the model processes for `rows`, padding included."""
        if all(self.shares(row) for row in rows):
            return len(rows) * max(map(len, rows))
        return sum(len(row.prompt) + len(fact) for row in rows for fact in row.facts)

    def one_by_one(self, row: Row) -> list[float]:
        """The same by definition: each fact alone behind the prompt, through the whole model."""
        import torch

        sums = []
        for fact in row.facts:
            ids = torch.tensor([[*row.prompt, *fact]], device=self.model.device)
            with torch.inference_mode():
                logits = self.model(input_ids=ids, use_cache=False).logits[0, len(row.prompt) - 1 : -1]
            sums.append(_log_probability(logits, ids[0, len(row.prompt) :]).sum().item())
        return sums

    def _together(self, rows: Sequence[Row]) -> list[list[float]]:
        """One forward of the decoder over all rows; the output head sees fact positions alone."""
        import torch

        batch = make_batch(rows, dtype=self.model.dtype, device=str(self.model.device))
        with torch.inference_mode():
            hidden = self.model.base_model(
                input_ids=batch.ids, attention_mask=batch.mask, position_ids=batch.positions, use_cache=False
            ).last_hidden_state[batch.row, batch.source]
            head = self.model.get_output_embeddings()
            parts = zip(torch.split(hidden, _CHUNK), torch.split(batch.target, _CHUNK), strict=True)
            values = torch.cat([_log_probability(head(states), targets) for states, targets in parts])
        lengths = [len(fact) for row in rows for fact in row.facts]
        sums = iter(part.sum().item() for part in torch.split(values.cpu(), lengths))
        return [[next(sums) for _ in row.facts] for row in rows]

    def _agrees(self) -> bool:
        """Whether a small row gives the same sums behind one prompt as fact by fact.

        Also whether the last fact stays the same, to the bit, when the one before it changes: a weak
        model may hide in its small numbers that its facts see each other.
        """
        vocabulary: int = self.model.config.get_text_config().vocab_size
        tokens = [(7 * index + 3) % vocabulary for index in range(15)]
        row = Row(tuple(tokens[:5]), (tuple(tokens[5:9]), tuple(tokens[9:12]), tuple(tokens[12:])))
        other = Row(row.prompt, (row.facts[0], row.facts[1][::-1], row.facts[2]))
        try:
            together, changed = self._together([row])[0], self._together([other])[0]
        except (TypeError, ValueError, RuntimeError, AttributeError, IndexError):
            return False
        tolerance = _TOLERANCE[str(self.model.dtype).removeprefix("torch.")]
        pairs = zip(together, self.one_by_one(row), row.facts, strict=True)
        close = all(abs(a - b) <= tolerance * len(fact) for a, b, fact in pairs)
        return close and together[2] == changed[2]


def attention_window(config: Any) -> int | None:
    """The shortest reach of a model's attention layers (tokens); None where all layers see everything."""
    config = config.get_text_config()
    if getattr(config, "use_sliding_window", True) is False:
        return None
    names = ("sliding_window", "attention_chunk_size", "window_size")
    windows = [getattr(config, name, None) for name in names]
    return min((size for size in windows if isinstance(size, int) and size > 0), default=None)


def _log_probability(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """log p of each target (n,) under logits (n, vocabulary), in float32 and summed later in float64."""
    logits = logits.float()
    chosen = logits.gather(-1, targets[:, None])[:, 0]
    return (chosen - logits.logsumexp(-1)).double()
