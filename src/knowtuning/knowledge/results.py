"""What a knowledge stage yields, row by row, and how it reaches the disk: usable and rejected rows."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from tqdm import tqdm

from knowtuning.core.records import Facts, Pair, Record, Rejected, check_rejected, rejected_path, write_jsonl
from knowtuning.teacher.tasks import Failure, Outcome, Task, Teacher

R = TypeVar("R", bound=Record)
T = TypeVar("T", bound=Task)

_PARTICULARS = re.compile(r"'[^']*'|\"[^\"]*\"|\d+")


def bar(rows: Iterable[Any], title: str, total: int, teacher: Teacher) -> Iterable[Any]:
    """The rows behind a progress bar, unless the teacher that makes them has its own."""
    hidden = teacher.has_bar or None
    shown: Iterable[Any] = tqdm(rows, title, total, unit="answer", mininterval=1, disable=hidden)
    return shown


def ask(teacher: Teacher, work: Iterable[tuple[R, T]]) -> Iterator[tuple[R, T, Outcome]]:
    """Give all tasks of `work` to the teacher at once; yield each with its record and outcome, in order.

    At once, so that a teacher that costs money can say beforehand how much.
    """
    pairs = list(work)
    if not pairs:
        return
    outcomes = teacher.run([task for _, task in pairs])
    for (record, task), (answered, outcome) in zip(pairs, outcomes, strict=True):
        assert answered == task, f"the teacher answered {answered.id} when {task.id} was due"
        yield record, task, outcome


def reject(record_id: str, failure: Failure, record: Record, *, step: str = "") -> Rejected:
    """The rejected row of a record whose task failed, with the last reply; step: of several, which one."""
    raw: dict[str, Any] = {"record": record.model_dump(), "reply": failure.raw}
    reason = f"{step}: {failure.reason}" if step else failure.reason
    return Rejected(id=record_id, reason=reason, raw=raw, left_out=failure.expected)


def make_pair(
    record: Facts,
    aspect: str,
    chosen: str,
    rejected: str,
    no_worse: Callable[[str, str], bool],
    *,
    offset: float = 0.0,
) -> Pair | Rejected:
    """The pair of two texts of a record, left out where the rejected one is no worse."""
    pair_id = f"{record.id}-{aspect}"
    if no_worse(chosen, rejected):
        reason = "the rejected text is no worse than the chosen one"
        return reject(pair_id, Failure(reason=reason, raw=rejected, expected=True), record, step=aspect)
    return Pair(
        id=pair_id,
        source=record.id,
        aspect=aspect,
        question=record.question,
        chosen=chosen,
        rejected=rejected,
        offset=offset,
    )


def percent(share: float) -> str:
    """A share (0..1) as reasons give it."""
    return f"{100 * share:.0f} %"


def reason_kind(reason: str) -> str:
    """A reason without its numbers and quotations, so that reasons of one kind can be counted."""
    return _PARTICULARS.sub("…", reason)


@dataclass(frozen=True)
class Results(Generic[R]):
    """The rows of a stage: usable, rejected, and those that its teacher leaves out."""

    rows: list[R]
    rejected: list[Rejected]
    left_out: list[Rejected] = field(default_factory=list)

    @classmethod
    def of(cls, stream: Iterable[R | Rejected]) -> Results[R]:
        """Drain a stream of usable and rejected rows."""
        results = cls([], [])
        for row in stream:
            if isinstance(row, Rejected):
                (results.left_out if row.left_out else results.rejected).append(row)
            else:
                results.rows.append(row)
        return results

    def write(self, path: Path) -> None:
        """Write the usable rows to `path` and the others beside it; both files always exist."""
        write_jsonl(path, self.rows)
        write_jsonl(rejected_path(path), [*self.rejected, *self.left_out])

    def check(self, path: Path, limit: float, key: str, *, total: int | None = None, way: str = "") -> None:
        """Raise ValueError when more than the share `limit` (params key `key`) was rejected, or all left out.

        total: rows asked for, where it is not the sum of usable and rejected ones. way: how to go on where
        all are left out.
        """
        total = len(self.rows) + len(self.rejected) if total is None else total
        check_rejected(self.rejected, total, limit, where=rejected_path(path), key=key)
        if self.left_out and not self.rows:
            raise ValueError(
                f"all {len(self.left_out)} rows were left out, none is left to go on with; the reasons: "
                f"{rejected_path(path)}; the first is {self.left_out[0].id}: {self.left_out[0].reason}"
                + (f"; {way}" if way else "")
            )

    def counts(self) -> dict[str, Any]:
        """For a metrics file: rejected and left-out rows, in all and by kind of reason (alphabetical)."""
        return {
            "rejected": len(self.rejected),
            "rejected_by_reason": _by_reason(self.rejected),
            "left_out": len(self.left_out),
            "left_out_by_reason": _by_reason(self.left_out),
        }


def _by_reason(rows: Iterable[Rejected]) -> dict[str, int]:
    return dict(sorted(Counter(reason_kind(row.reason) for row in rows).items()))
