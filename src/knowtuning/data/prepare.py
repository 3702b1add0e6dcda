"""The whole of data preparation: from parameters to clean splits, files and counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from knowtuning.config.prepare import PrepareParams
from knowtuning.core.records import check_rejected, rejected_path, write_jsonl
from knowtuning.core.storage import atomic_write, write_json
from knowtuning.data import splits as steps
from knowtuning.data.boilerplate import KINDS, Boilerplate, find, report
from knowtuning.data.examples import Reject, SourceRow
from knowtuning.data.sources import SOURCES, open_tests
from knowtuning.data.splits import SPLITS, Split

UNANSWERED = ("missing_value", "empty_answer")
# Above this share of the training answers boilerplate is worth a line on the screen.
NOTED = 0.05


@dataclass(frozen=True)
class Prepared:
    """The finished splits, those of further test sets by `tests.<name>`.

    corpus: one document an item. truth: only where the source knows it. boilerplate: what the kept answers
    repeat. notes: what a reader should know of the data, a line each.
    """

    splits: dict[str, Split]
    corpus: list[str]
    truth: dict[str, Any] | None
    boilerplate: Boilerplate
    notes: list[str]

    def counts(self) -> dict[str, dict[str, Any]]:
        return {name: split.counts() | self._repeated(split) for name, split in self.splits.items()}

    def _repeated(self, split: Split) -> dict[str, int]:
        """How many kept answers are of each kind of boilerplate."""
        kinds = Counter(kind for row in split.rows for kind in self.boilerplate.kinds(row.example.answer))
        return {kind: kinds[kind] for kind in KINDS}

    def metrics(self) -> dict[str, Any]:
        """The content of metrics/data.json: counts and, where there are some, boilerplate and notes."""
        rows = [row for name, split in self.splits.items() if name in SPLITS for row in split.rows]
        repeated = report(self.boilerplate, [(row.where, row.example.answer) for row in rows])
        parts = {"boilerplate": repeated, "notes": self.notes}
        return {**self.counts(), **{name: part for name, part in parts.items() if part}}


def prepare(params: PrepareParams, *, seed: int) -> Prepared:
    """Read the chosen source and clean it; nothing is written. Raises ValueError where it has no row."""
    source = SOURCES[params.source](params, seed)
    tests, notes = open_tests(params)
    cleaned = {name: _read(name, rows) for name, rows in {**source.rows, **tests}.items()}
    repeated = find(row.example.answer for name in source.rows for row in cleaned[name].rows)
    cleaned = {name: _without(split, repeated, params) for name, split in cleaned.items()}
    splits = _separate(cleaned, params, seed)
    corpus = source.corpus
    if corpus is None:
        by_id = sorted(splits["train"].rows, key=lambda row: row.example.id)
        corpus = [" ".join(row.example.answer.split()) for row in by_id]
    prepared = Prepared(splits, corpus, source.truth, repeated, [*source.notes, *notes])
    return replace(prepared, notes=[*prepared.notes, *_remarks(prepared)])


def _without(split: Split, repeated: Boilerplate, params: PrepareParams) -> Split:
    """The rows whose answers are neither boilerplate that is to be left out nor too long."""
    kept = steps.drop(split, "dropped", lambda row: repeated.reason(row.example.answer, params.drop))
    return steps.drop(kept, "too_long", lambda row: steps.too_long(row.example.answer, params.max_words))


def _remarks(prepared: Prepared) -> list[str]:
    """Lines on boilerplate above NOTED of the training answers, and on questions with several answers."""
    train = prepared.splits["train"]
    counts = prepared.counts()["train"]
    several = [
        f"{split.name}: {split.otherwise} rows repeat a question with another answer; the first of each stays"
        for split in prepared.splits.values()
        if split.otherwise
    ]
    return several + [
        f"train: {counts[kind]} of {len(train.rows)} answers are boilerplate of the kind {kind}; "
        f"examples are in metrics/data.json, and prepare.drop: [{kind}] leaves them out"
        for kind in KINDS
        if counts[kind] > NOTED * len(train.rows)
    ]


def write_prepared(prepared: Prepared, folder: Path, *, max_rejected: float) -> None:
    """Write the splits, their rejected rows, corpus.txt and, where known, truth.json.

    Files of an earlier run go first, and the rejected rows are written before they are judged, so
    that a failed run leaves only the reasons. Raises ValueError when more than the fraction
    `max_rejected` of a split's rows is unusable, or when no row of a split is left.
    """
    for path in (*folder.rglob("*.jsonl"), folder / "corpus.txt", folder / "truth.json"):
        path.unlink(missing_ok=True)
    # tests.lima -> tests/lima.jsonl
    paths = {folder / f"{name.replace('.', '/')}.jsonl": split for name, split in prepared.splits.items()}
    for path, split in paths.items():
        write_jsonl(rejected_path(path), (reject.record() for reject in split.rejects))
    for path, split in paths.items():
        _check(split, rejected_path(path), max_rejected)
    for path, split in paths.items():
        write_jsonl(path, (row.example for row in split.rows))
    with atomic_write(folder / "corpus.txt") as stream:
        stream.writelines(f"{document}\n" for document in prepared.corpus)
    # Always there, since stages depend on it; without towns where the source knows no ground truth.
    write_json(folder / "truth.json", prepared.truth or {"towns": {}})


def _check(split: Split, rejected: Path, limit: float) -> None:
    """Raise ValueError, naming the first unusable row, when too many are or when none is left."""
    bad = [reject.record() for reject in split.bad()]
    try:
        check_rejected(bad, split.read, limit, where=rejected, key="prepare.max_rejected")
    except ValueError as error:
        if split.name == "test" and all(reject.kind in UNANSWERED for reject in split.bad()):
            raise ValueError(f"{error}; questions without a reference answer go to prepare.tests") from error
        raise
    if not split.rows:
        raise ValueError(
            f"{split.name}: none of its {split.read} rows is left; see the reasons in {rejected}"
        )


def _read(name: str, rows: Iterable[SourceRow | Reject]) -> Split:
    from tqdm import tqdm

    split = steps.collect(name, tqdm(rows, desc=f"read {name}", unit=" rows", delay=2))
    if split.read == 0:
        raise ValueError(f"{name}: the source holds no row; expected at least one")
    return steps.drop_duplicates(split)


def _separate(cleaned: dict[str, Split], params: PrepareParams, seed: int) -> dict[str, Split]:
    """No question in two of train, valid, and the test sets; two test sets may share one."""
    splits = dict(cleaned)
    held_out = [split for name, split in splits.items() if name not in ("train", "valid")]
    if "valid" in splits:
        splits["valid"] = steps.drop_leaked(splits["valid"], held_out)
        held_out.append(splits["valid"])
    splits["train"] = steps.drop_leaked(splits["train"], held_out)
    for split in splits.values():
        steps.check_ids(split)
    for name in SPLITS:
        if name not in splits:
            count = getattr(params.split, name)
            splits["train"], splits[name] = steps.draw(splits["train"], name, count, seed=seed)
    for name in SPLITS:
        splits[name] = steps.apply_limit(splits[name], getattr(params.limit, name), seed=seed)
    for split in splits.values():
        split.check()
    return {name: splits[name] for name in sorted(splits, key=lambda name: name not in SPLITS)}
