"""Training rows: examples and preference pairs as token ids, and the rows held out for validation."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from knowtuning.core.params import Template
from knowtuning.core.records import Example, Preference, Rejected, Rewrite, check_rejected, write_jsonl
from knowtuning.core.storage import digest
from knowtuning.packing import Tree
from knowtuning.runtime.prompting import encode_completion, encode_prompt

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

IGNORED = -100


@dataclass(frozen=True)
class Row:
    """One example. `labels` repeats `input_ids` where the loss counts: the completion, EOS included."""

    id: str
    source: str
    input_ids: list[int]
    labels: list[int]


@dataclass(frozen=True)
class PairRow:
    """One preference pair; completions end with EOS unless they were cut off."""

    id: str
    source: str
    prompt_ids: list[int]
    chosen_ids: list[int]
    rejected_ids: list[int]


def row_tree(row: Row) -> Tree:
    """The prompt of a training row with its one completion."""
    start = next(place for place, label in enumerate(row.labels) if label >= 0)
    return Tree(tuple(row.input_ids[:start]), (tuple(row.input_ids[start:]),))


def pair_tree(row: PairRow) -> Tree:
    """The prompt of a pair with its chosen and its rejected completion."""
    return Tree(tuple(row.prompt_ids), (tuple(row.chosen_ids), tuple(row.rejected_ids)))


@dataclass(frozen=True)
class Encoder:
    """Turns text into rows of at most `max_length` tokens (model.max_length)."""

    tokenizer: PreTrainedTokenizerBase
    template: Template
    max_length: int

    def example(self, record: Example | Rewrite) -> Row | Rejected:
        """The row of an example; rejected when truncation leaves no token of the completion."""
        prompt = encode_prompt(self.tokenizer, self.template, record.question)
        if len(prompt) >= self.max_length:
            return _swallowed(record.id, len(prompt), self.max_length)
        completion = encode_completion(self.tokenizer, self.template, record.answer)
        completion = completion[: self.max_length - len(prompt)]
        return Row(
            id=record.id,
            source=record.source if isinstance(record, Rewrite) else record.id,
            input_ids=prompt + completion,
            labels=[IGNORED] * len(prompt) + completion,
        )

    def pair(self, record: Preference) -> PairRow | Rejected:
        """The row of a pair; rejected when truncation leaves no token of the completions."""
        prompt = encode_prompt(self.tokenizer, self.template, record.question)
        room = self.max_length - len(prompt)
        if room <= 0:
            return _swallowed(record.id, len(prompt), self.max_length)
        sides = [
            encode_completion(self.tokenizer, self.template, text)[:room]
            for text in (record.chosen, record.rejected)
        ]
        if sides[0] == sides[1]:
            return Rejected(
                id=record.id,
                reason=f"chosen and rejected are the same after truncation to {self.max_length} tokens",
                raw=record.id,
            )
        return PairRow(record.id, record.source, prompt, sides[0], sides[1])


def _swallowed(record_id: str, prompt: int, limit: int) -> Rejected:
    return Rejected(
        id=record_id,
        reason=f"the prompt has {prompt} tokens and model.max_length is {limit}: no completion is left",
        raw=prompt,
    )


R = TypeVar("R", "Row", "PairRow")


def cut_off(rows: Sequence[R], eos: int) -> int:
    """How many rows lost the end of a completion to model.max_length."""
    ends = (
        (row.labels[-1],) if isinstance(row, Row) else (row.chosen_ids[-1], row.rejected_ids[-1])
        for row in rows
    )
    return sum(any(token != eos for token in last) for last in ends)


def accept(found: Sequence[R | Rejected], rejected_to: Path, *, limit: float, key: str) -> list[R]:
    """The usable rows; the others go to `rejected_to`. Raises ValueError when they are too many."""
    rejected = [row for row in found if isinstance(row, Rejected)]
    write_jsonl(rejected_to, rejected)
    check_rejected(rejected, len(found), limit, where=rejected_to, key=key)
    return [row for row in found if not isinstance(row, Rejected)]


def hold_out(sources: Iterable[str], count: int, seed: int) -> set[str]:
    """`count` of the distinct sources, at most a fifth of them, chosen by hash.

    All rows made from one source go to the same side, so that no rewrite of a validation row is trained on.
    """
    distinct = sorted(set(sources), key=lambda source: digest(seed, "hold_out", source))
    return set(distinct[: min(count, len(distinct) // 5)])


def parts(rows: Sequence[R], count: int, seed: int, *, section: str, source: str) -> tuple[list[R], list[R]]:
    """split_rows for the stage `section`. Raises ValueError when a part is empty, and names `source`."""
    train, held_out = split_rows(rows, count, seed)
    if not train or not held_out:
        examples = len({row.source for row in rows})
        raise ValueError(
            f"{section}: {len(rows)} rows from {examples} examples; expected those of at least 5 examples, a "
            f"fifth of which is held out; look at {source}"
        )
    return train, held_out


def split_rows(rows: Sequence[R], count: int, seed: int) -> tuple[list[R], list[R]]:
    """(training rows, validation rows); see hold_out."""
    held = hold_out((row.source for row in rows), count, seed)
    return [row for row in rows if row.source not in held], [row for row in rows if row.source in held]
