"""The whole of data preparation: from parameters to clean splits, files and counts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from knowtuning.config.prepare import PrepareParams
from knowtuning.core.records import check_rejected, rejected_path, write_jsonl
from knowtuning.core.storage import atomic_write, write_json
from knowtuning.data.examples import Reject, Row
from knowtuning.data.sources import open_source
from knowtuning.data.splits import (
    SPLITS,
    Split,
    SplitName,
    apply_limit,
    check_ids,
    collect,
    draw,
    drop_duplicates,
    drop_leaked,
)


@dataclass(frozen=True)
class Prepared:
    """The finished splits. corpus: one document an item. truth: only where the source knows it."""

    splits: dict[SplitName, Split]
    corpus: list[str]
    truth: dict[str, Any] | None

    def counts(self) -> dict[str, dict[str, int | float]]:
        """The counts of each split, for metrics/data.json."""
        return {name: self.splits[name].counts() for name in SPLITS}


def prepare(params: PrepareParams, *, seed: int) -> Prepared:
    """Read the chosen source and clean it; nothing is written.

    Raises ValueError when the source cannot be read or holds no row.
    """
    source = open_source(params, seed=seed)
    given = {name: _read(name, rows) for name, rows in source.rows.items()}
    splits = _separate(given, params, seed)
    corpus = source.corpus
    if corpus is None:
        corpus = [" ".join(row.example.answer.split()) for row in _by_id(splits["train"])]
    return Prepared(splits, corpus, source.truth)


def write_prepared(prepared: Prepared, folder: Path, *, max_rejected: float) -> None:
    """Write the splits, their rejected rows, corpus.txt and, where known, truth.json.

    Files of an earlier run go first, and the rejected rows are written before they are judged, so
    that a failed run leaves only the reasons. Raises ValueError when more than the fraction
    `max_rejected` of a split's rows is unusable, or when no row of a split is left.
    """
    _remove_earlier(folder)
    for name, split in prepared.splits.items():
        path = folder / f"{name}.jsonl"
        write_jsonl(rejected_path(path), (reject.record() for reject in split.rejects))
    for name, split in prepared.splits.items():
        _check(split, rejected_path(folder / f"{name}.jsonl"), max_rejected)
    for name, split in prepared.splits.items():
        write_jsonl(folder / f"{name}.jsonl", (row.example for row in split.rows))
    with atomic_write(folder / "corpus.txt") as stream:
        stream.writelines(f"{document}\n" for document in prepared.corpus)
    # Always there, since stages depend on it; without towns where the source knows no ground truth.
    write_json(folder / "truth.json", prepared.truth or {"towns": {}})


def _check(split: Split, rejected: Path, limit: float) -> None:
    """Raise ValueError, naming the first unusable row, when too many are or when none is left."""
    bad = [reject.record() for reject in split.bad()]
    check_rejected(bad, split.read, limit, where=rejected, key="prepare.max_rejected")
    if not split.rows:
        raise ValueError(
            f"{split.name}: none of its {split.read} rows is left; see the reasons in {rejected}"
        )


def _read(name: SplitName, rows: Iterable[Row | Reject]) -> Split:
    from tqdm import tqdm

    split = collect(name, tqdm(rows, desc=f"read {name}", unit=" rows", delay=2))
    if split.read == 0:
        raise ValueError(f"{name}: the source holds no row; expected at least one")
    return split


def _separate(given: dict[SplitName, Split], params: PrepareParams, seed: int) -> dict[SplitName, Split]:
    """No question twice: not in a split, and not in two of them."""
    splits = {name: drop_duplicates(split) for name, split in given.items()}
    if "valid" in splits and "test" in splits:
        splits["valid"] = drop_leaked(splits["valid"], [splits["test"]])
    held_out = [splits[name] for name in SPLITS if name in splits and name != "train"]
    splits["train"] = drop_leaked(splits["train"], held_out)
    for split in splits.values():
        check_ids(split)
    for name in SPLITS:
        if name not in splits:
            count = getattr(params.split, name)
            splits["train"], splits[name] = draw(splits["train"], name, count, seed=seed)
    for name in SPLITS:
        splits[name] = apply_limit(splits[name], getattr(params.limit, name), seed=seed)
        splits[name].check()
    return splits


def _by_id(split: Split) -> list[Row]:
    return sorted(split.rows, key=lambda row: row.example.id)


def _remove_earlier(folder: Path) -> None:
    names = [f"{name}{end}" for name in SPLITS for end in (".jsonl", ".rejected.jsonl")]
    for name in (*names, "corpus.txt", "truth.json"):
        (folder / name).unlink(missing_ok=True)
