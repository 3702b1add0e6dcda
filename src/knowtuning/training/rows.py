"""Training rows: examples and preference pairs as token ids, and the rows held out for validation."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any, TypeVar

from knowtuning.core.numbers import exact_share
from knowtuning.core.records import Example, Pair, Rejected, Rewrite, check_rejected, write_jsonl
from knowtuning.core.storage import digest
from knowtuning.model.prompt import Formatter
from knowtuning.training.counted import COUNTED


@dataclass(frozen=True)
class Row:
    """One example as token ids; the completion ends with the end of turn unless it was cut off."""

    id: str
    source: str
    prompt: list[int]
    completion: list[int]

    @property
    def tokens(self) -> int:
        """Tokens of the sequence that is trained on."""
        return len(self.prompt) + len(self.completion)

    @property
    def completions(self) -> tuple[list[int], ...]:
        return (self.completion,)


@dataclass(frozen=True)
class PairRow:
    """One preference pair as token ids; completions end with the end of turn unless they were cut off.

    weights: of the tokens of chosen and rejected in the preference loss (counted.py). offset: see
    losses.PairLogps.
    """

    id: str
    source: str
    prompt: list[int]
    chosen: list[int]
    rejected: list[int]
    chosen_weights: list[float]
    rejected_weights: list[float]
    offset: float = 0.0

    @property
    def tokens(self) -> int:
        """Tokens of both sequences that are trained on."""
        return 2 * len(self.prompt) + len(self.chosen) + len(self.rejected)

    @property
    def completions(self) -> tuple[list[int], ...]:
        return self.chosen, self.rejected

    @property
    def weights(self) -> tuple[list[float], ...]:
        return self.chosen_weights, self.rejected_weights


R = TypeVar("R", Row, PairRow)


@dataclass(frozen=True)
class RowEncoder:
    """Turns text into rows of at most `max_length` tokens; counted: of a pair, a name of counted.COUNTED."""

    formatter: Formatter
    max_length: int
    counted: str = "all"

    def row(self, record: Example | Rewrite | Pair) -> Any:
        """The Row or PairRow of a record; rejected when truncation leaves nothing to learn from."""
        prompt = self.formatter.prompt(record.question)
        room = self.max_length - len(prompt)
        if room <= 0:
            return Rejected(
                id=record.id,
                reason=f"the prompt has {len(prompt)} tokens and model.max_length is {self.max_length}: no "
                "completion is left",
                raw=len(prompt),
            )
        source = record.id if isinstance(record, Example) else record.source
        if not isinstance(record, Pair):
            return Row(record.id, source, prompt, self.formatter.completion(record.answer)[:room])
        whole = map(self.formatter.completion, (record.chosen, record.rejected))
        chosen, rejected = (tokens[:room] for tokens in whole)
        if chosen == rejected:
            return Rejected(
                id=record.id,
                reason=f"chosen and rejected are the same after truncation to {self.max_length} tokens",
                raw=record.id,
            )
        weights = COUNTED[self.counted](chosen, rejected, self.formatter.ends[-1])
        return PairRow(record.id, source, prompt, chosen, rejected, *weights, record.offset)

    def cut_off(self, rows: Sequence[Row] | Sequence[PairRow]) -> int:
        """How many rows lost the end of a completion to model.max_length."""
        whole = self.formatter.is_whole
        return sum(not all(map(whole, row.completions)) for row in rows)


def accept(encoded: Sequence[R | Rejected], rejected_to: Path, *, limit: float, key: str) -> list[R]:
    """The usable rows; the others go to `rejected_to`. Raises ValueError when they are too many."""
    rejected = [row for row in encoded if isinstance(row, Rejected)]
    write_jsonl(rejected_to, rejected)
    check_rejected(rejected, len(encoded), limit, where=rejected_to, key=key)
    return [row for row in encoded if not isinstance(row, Rejected)]


def beside_rewrites(
    records: Sequence[Example | Rewrite], originals: float, seed: int
) -> list[Example | Rewrite]:
    """Rewrites, and the examples that are trained on beside them.

    originals: share (0..1) of the examples with a rewrite that stay, chosen by hash; others always stay.
    """
    rewritten = {record.source for record in records if isinstance(record, Rewrite)}
    ranked = sorted(rewritten, key=lambda source: digest(seed, "originals", source))
    gone = set(ranked[ceil(exact_share(originals, len(ranked))) :])
    return [record for record in records if isinstance(record, Rewrite) or record.id not in gone]


def hold_out(sources: Iterable[str], count: int, seed: int) -> set[str]:
    """`count` of the distinct sources, at most a fifth of them, chosen by hash.

    All rows made from one source go to the same side, so that no rewrite of a validation row is trained on.
    """
    distinct = sorted(set(sources), key=lambda source: digest(seed, "hold_out", source))
    return set(distinct[: min(count, len(distinct) // 5)])


def split_rows(
    rows: Sequence[R], count: int, seed: int, *, section: str, source: str
) -> tuple[list[R], list[R]]:
    """(training rows, validation rows) of the stage `section`, see `hold_out`.

    Raises ValueError when a part is empty, and names `source`, where the rows come from.
    """
    held = hold_out((row.source for row in rows), count, seed)
    parts = [row for row in rows if row.source not in held], [row for row in rows if row.source in held]
    if not all(parts):
        examples = len({row.source for row in rows})
        raise ValueError(
            f"{section}: {len(rows)} rows from {examples} examples; expected those of at least 5 examples, a "
            f"fifth of which is held out; look at {source}"
        )
    return parts
