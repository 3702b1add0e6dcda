"""Rewrites and pairs from the files of another trainer, such as the KA and KC files that the paper released.

Such a file repeats what this pipeline keeps apart: the released KA file holds the originals too, and may ask
what an evaluation split asks. So every row is compared with the prepared splits.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from knowtuning.core.records import Example, Pair, Record, Rejected, Rewrite, iter_jsonl
from knowtuning.core.storage import digest
from knowtuning.data.examples import Columns, Reject, to_example
from knowtuning.data.normalise import fold, normalise, question_id
from knowtuning.data.readers import RawRow
from knowtuning.exchange.formats import Format, Slot, Template, match, slot_paths

What = Literal["ka", "kc"]
# The aspect of a pair whose file names none.
NO_ASPECT = "imported"
# What a row is that is left out without being faulty.
LEFT_OUT = ("original", "leaked", "duplicate")


@dataclass(frozen=True)
class Splits:
    """The prepared splits. sources: question -> id of the training row that asks it. originals: questions
    and answers of training. held_out: question -> id and split that must not be trained on. Questions are
    folded."""

    sources: dict[str, str]
    originals: set[tuple[str, str]]
    held_out: dict[str, str]


@dataclass
class Imported:
    """The records of a file, and the rows that gave none. counts: of LEFT_OUT and read. unread:
    columns that hold something and are not read."""

    records: list[Record] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    unread: Counter[str] = field(default_factory=Counter)


def read_splits(folder: Path) -> Splits:
    """The splits in the folder that the stage prepare wrote. Raises ValueError where there are none."""
    if not (folder / "train.jsonl").is_file():
        raise ValueError(
            f"{folder}/train.jsonl: not found; run `dvc repro prepare`: rows are compared with its splits"
        )
    train = list(iter_jsonl(folder / "train.jsonl", Example))
    held = [folder / "valid.jsonl", folder / "test.jsonl", *sorted(folder.glob("tests/*.jsonl"))]
    return Splits(
        {fold(row.question): row.id for row in train},
        {(fold(row.question), normalise(row.answer)) for row in train},
        {
            fold(row.question): f"{row.id} ({path.stem})"
            for path in held
            if path.is_file() and not path.name.endswith(".rejected.jsonl")
            for row in iter_jsonl(path, Example)
        },
    )


def imported(rows: Iterable[RawRow], what: What, form: Format, splits: Splits) -> Imported:
    """Each row as a rewrite (ka) or pair (kc), or rejected with where it stands and the reason."""
    template = form.answered if what == "ka" else form.pair
    result, first = Imported(), dict[tuple[str, ...], str]()
    for raw in rows:
        result.counts["read"] += 1
        texts = _texts(raw, template)
        if isinstance(texts, Rejected):
            result.rejected.append(texts)
            continue
        read = {*(template if isinstance(template, dict) else ()), "id", "source", "aspect"}
        filled = (name for name, value in raw.values.items() if value not in (None, "", [], {}))
        result.unread.update(name for name in filled if name not in read)
        # Rows with different ids may hold equal texts: two examples can have one rewrite.
        key = (_text(raw.values, "id") or "", *texts)
        kind, reason = _left_out(texts, splits, first.setdefault(key, raw.where), raw.where)
        if kind:
            result.counts[kind] += 1
            result.rejected.append(
                Rejected(id=raw.where, reason=f"{kind}: {reason}", raw=raw.values, left_out=True)
            )
        else:
            result.records.append(_record(texts, raw.values, splits))
    return result


def _left_out(texts: tuple[str, ...], splits: Splits, first: str, where: str) -> tuple[str, str]:
    """The entry of LEFT_OUT that a row is, and why; empty for a row that is used."""
    question = fold(texts[0])
    if question in splits.held_out:
        return "leaked", f"the question is that of {splits.held_out[question]}"
    if (question, *texts[1:]) in splits.originals:
        return "original", f"the training row {splits.sources[question]} as it is"
    return ("duplicate", f"the same as {first}") if first != where else ("", "")


def _texts(raw: RawRow, template: Template) -> tuple[str, ...] | Rejected:
    """The question, and the answer or both sides."""
    paths = slot_paths(template)
    sides = [slot for slot in (Slot.ANSWER, Slot.CHOSEN, Slot.REJECTED) if slot in paths]
    try:
        flat = RawRow(raw.where, match(template, raw.values))
    except ValueError as error:
        return Reject(raw.where, "malformed", str(error), raw.values).record()
    examples = []
    for side in sides:
        row = to_example(flat, Columns(paths[Slot.QUESTION], paths[side], context=paths.get(Slot.CONTEXT)))
        if isinstance(row, Reject):
            return Reject(row.where, row.kind, row.reason, raw.values).record()
        examples.append(row.example)
    answers = [example.answer for example in examples]
    if len(answers) > len(set(answers)):
        reason = f"{paths[Slot.CHOSEN]} and {paths[Slot.REJECTED]} are the same, expected two answers"
        return Reject(raw.where, "malformed", reason, raw.values).record()
    return (examples[0].question, *answers)


def _record(texts: tuple[str, ...], row: dict[str, Any], splits: Splits) -> Rewrite | Pair:
    """Id and source: those of the row, else the training row that asks the question, else made of it."""
    question, *answers = texts
    source = _text(row, "source") or splits.sources.get(fold(question)) or question_id(question)
    name = _text(row, "id") or f"{source}-{digest(texts)[:8]}"
    if len(answers) == 1:
        return Rewrite(id=name, source=source, question=question, answer=answers[0], facts=[])
    chosen, rejected = answers
    aspect = _text(row, "aspect") or NO_ASPECT
    return Pair(id=name, source=source, aspect=aspect, question=question, chosen=chosen, rejected=rejected)


def _text(row: dict[str, Any], column: str) -> str | None:
    value = row.get(column)
    return value if isinstance(value, str) and value.strip() else None
