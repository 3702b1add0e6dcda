"""The steps from examples to clean splits: pure functions that account for every row."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from knowtuning.core.storage import digest
from knowtuning.core.text import words
from knowtuning.data.examples import BAD, EXPECTED, Reject, SourceRow
from knowtuning.data.normalise import fold

SPLITS = ("train", "valid", "test")


@dataclass(frozen=True)
class Split:
    """The rows of a split and what happened on the way; the identity `check` states always holds.

    read: rows read from the source for it. moved: rows drawn into it from train (for train: out of
    it, negative). limited: rows above prepare.limit. blanks: marks that counted as no text, by column.
    otherwise: duplicates whose answer is another one than that of the row that is kept.
    """

    name: str
    read: int
    rows: list[SourceRow]
    rejects: list[Reject]
    moved: int = 0
    limited: int = 0
    blanks: dict[str, int] = field(default_factory=dict)
    otherwise: int = 0

    def check(self) -> None:
        """Assert that every row read is kept, rejected, moved or limited."""
        assert self.read + self.moved == len(self.rows) + len(self.rejects) + self.limited, self.name

    def bad(self) -> list[Reject]:
        """Rejected rows that count against prepare.max_rejected."""
        return [reject for reject in self.rejects if reject.kind in BAD]

    def fault(self) -> str:
        """The end of an error message: how many rows went, why, and the first of them; empty without one."""
        if not self.rejects:
            return ""
        kinds = Counter(reject.kind for reject in self.rejects)
        gone, first = ", ".join(f"{count} {kind}" for kind, count in kinds.items()), self.rejects[0]
        return f" (left out of {self.read}: {gone}); the first is {first.where}: {first.reason}"

    def counts(self) -> dict[str, Any]:
        """The counts for metrics/data.json; mean_answer_words: words split at white space.

        counted_as_empty: how often which mark of a column counted as no text, where one did.
        """
        kinds = Counter(reject.kind for reject in self.rejects)
        total = sum(len(row.example.answer.split()) for row in self.rows)
        return {
            "read": self.read,
            **{kind: kinds[kind] for kind in (*BAD, *EXPECTED)},
            "moved": self.moved,
            "limited": self.limited,
            "kept": len(self.rows),
            "mean_answer_words": round(total / len(self.rows), 3) if self.rows else 0.0,
            **({"counted_as_empty": self.blanks} if self.blanks else {}),
        }


def collect(name: str, rows: Iterable[SourceRow | Reject]) -> Split:
    """Read a split to its end."""
    good: list[SourceRow] = []
    rejects: list[Reject] = []
    blanks: Counter[str] = Counter()
    for row in rows:
        blanks.update([row.blank] if row.blank else [])
        if isinstance(row, SourceRow):
            good.append(row)
        else:
            rejects.append(row)
    return Split(name, len(good) + len(rejects), good, rejects, blanks=dict(sorted(blanks.items())))


def drop_duplicates(split: Split) -> Split:
    """Keep the first row, in the order of the source, of those that ask the same question."""
    first: dict[str, SourceRow] = {}
    rejects: list[Reject] = []
    otherwise = split.otherwise
    for row in split.rows:
        kept = first.setdefault(fold(row.example.question), row)
        if kept is not row:
            rejects.append(_reject(row, "duplicate", f"the question is that of {kept.where}"))
            otherwise += kept.example.answer != row.example.answer
    return replace(split, rows=[*first.values()], rejects=split.rejects + rejects, otherwise=otherwise)


def drop(split: Split, kind: str, reason: Callable[[SourceRow], str | None]) -> Split:
    """Remove every row for which there is a reason; kind: one of EXPECTED."""
    reasons = [(row, reason(row)) for row in split.rows]
    rows = [row for row, why in reasons if why is None]
    rejects = [_reject(row, kind, why) for row, why in reasons if why is not None]
    return replace(split, rows=rows, rejects=split.rejects + rejects)


def too_long(answer: str, most: int | None) -> str | None:
    """Why an answer of more than `most` words is left out; None for another one, and where all are kept."""
    if most is None or (length := len(words(answer))) <= most:
        return None
    return f"the answer has {length} words, more than prepare.max_words, {most}"


def drop_leaked(split: Split, held_out: Iterable[Split]) -> Split:
    """Remove every row whose question also occurs in one of the `held_out` splits."""
    reasons = {
        fold(row.example.question): f"the question is that of {row.where} ({other.name})"
        for other in held_out
        for row in other.rows
    }
    return drop(split, "leaked", lambda row: reasons.get(fold(row.example.question)))


def check_ids(split: Split) -> None:
    """Raise ValueError, naming both rows, when two rows of a split have one id."""
    locations: dict[str, str] = {}
    for row in split.rows:
        before = locations.setdefault(row.example.id, row.where)
        if before != row.where:
            raise ValueError(
                f"{row.where}: the id {row.example.id!r} is also that of {before}; expected unique ids; "
                "mend them, or set the id column to null to have ids made from the questions"
            )


def draw(train: Split, name: str, count: int, *, seed: int) -> tuple[Split, Split]:
    """Split `count` rows off train: those of lowest hash(seed, name, id).

    Returns what is left of train, and the new split. A row added to train changes the place of at
    most one other row. Raises ValueError when train would be left empty.
    """
    if count >= len(train.rows):
        raise ValueError(
            f"prepare.split.{name} is {count}; expected less than the {len(train.rows)} usable rows "
            f"that are left to draw from{train.fault()}"
        )
    drawn = _lowest(train.rows, count, seed, f"prepare.split.{name}")
    rest = [row for row in train.rows if row.example.id not in drawn]
    held = [row for row in train.rows if row.example.id in drawn]
    return replace(train, rows=rest, moved=train.moved - count), Split(name, 0, held, [], moved=count)


def apply_limit(split: Split, limit: int | None, *, seed: int) -> Split:
    """Keep at most `limit` rows, those of lowest hash(seed, split, id); None keeps all."""
    if limit is None or limit >= len(split.rows):
        return split
    chosen = _lowest(split.rows, limit, seed, f"prepare.limit.{split.name}")
    rows = [row for row in split.rows if row.example.id in chosen]
    return replace(split, rows=rows, limited=len(split.rows) - limit)


def _lowest(rows: list[SourceRow], count: int, seed: int, purpose: str) -> set[str]:
    ids = (row.example.id for row in rows)
    return set(heapq.nsmallest(count, ids, key=lambda name: digest(seed, purpose, name)))


def _reject(row: SourceRow, kind: str, reason: str) -> Reject:
    return Reject(row.where, kind, reason, row.example.model_dump())
