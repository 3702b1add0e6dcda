"""A seeded sample of what the english teacher makes of real text, to be read by people with a rubric.

    python -m benchmarks.data_quality --data FOLDER --seed 1 --out sample.jsonl
    python -m benchmarks.data_quality --marks benchmarks/data_quality.csv

FOLDER has dolly_train.json and medquad.jsonl.gz. The sample has 120 facts, 60 revisions, 60 rewrites and 40
pairs of each aspect, half from each source, each with its question and what stands around it; the shares left
out and what form alone tells of the pairs are printed. --marks prints the counts of two readers and their
agreement. docs/data-quality.md has the rubric and the counts.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import random
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from scipy.stats import binomtest

from knowtuning.core.records import Example, Facts, Pair
from knowtuning.core.storage import record_rng
from knowtuning.evaluation.stats import Resampling
from knowtuning.human.agreement import cohen_kappa
from knowtuning.knowledge.aspects import ASPECTS, Perturbation
from knowtuning.knowledge.audit import audit, warning
from knowtuning.knowledge.perturb import PerturbCounts, Settings, perturb
from knowtuning.teacher.english import EnglishTeacher
from knowtuning.teacher.english.grammar import depends_on, links_of
from knowtuning.teacher.tasks import Extract, FactList, QuestionAnswer, Reply, Revise, RewriteQA, Task

ROWS = 4_000  # of each source, for facts
RECORDS = 1_000  # the first that have facts, for what is made of them
SIZES = {"fact": 60, "revision": 30, "rewrite": 30, **dict.fromkeys(ASPECTS, 20)}  # of each source


def dolly(folder: Path) -> list[Example]:
    """The training rows of Dolly."""
    rows = json.loads((folder / "dolly_train.json").read_text(encoding="utf-8"))
    return [
        Example(id=f"dolly-{number:05d}", question=row["instruction"], answer=row["output"])
        for number, row in enumerate(rows[:ROWS])
    ]


def medquad(folder: Path) -> list[Example]:
    """Rows of MedQuAD from all of the file."""
    with gzip.open(folder / "medquad.jsonl.gz", "rt", encoding="utf-8") as stream:
        rows = [json.loads(line) for line in stream]
    return [
        Example(id=f"medquad-{row['id']}", question=row["question"], answer=row["answer"])
        for row in random.Random(0).sample(rows, ROWS)
    ]


def replies(teacher: EnglishTeacher, tasks: Sequence[Task], what: str) -> Iterator[tuple[int, Any]]:
    """The number of each task that has a reply, with the reply; prints the share that has none."""
    start, done = time.process_time(), 0
    for number, (_, outcome) in enumerate(teacher.run(tasks)):
        if isinstance(outcome, Reply):
            done += 1
            yield number, outcome
    share = 1 - done / max(1, len(tasks))
    print(f"  {what}: {done} of {len(tasks)}, {share:.0%} left out, {time.process_time() - start:.1f} s")


def drawn(examples: Sequence[Example], seed: int) -> Iterator[dict[str, Any]]:
    """The sample of one source, kind by kind; each item is named by kind, record and number in the record."""
    teacher = EnglishTeacher(seed=seed)
    work: list[Task] = [Extract(id=row.id, question=row.question, answer=row.answer) for row in examples]
    records = [
        Facts(**examples[number].model_dump(include={"id", "question", "answer"}), facts=reply.facts)
        for number, reply in replies(teacher, work, "extract")
    ]
    first = records[:RECORDS]
    items = {
        "fact": list(facts(records)),
        "revision": list(revisions(first, seed)),
        "rewrite": list(rewrites(first, seed)),
        **pairs(first, seed),
    }
    for kind, rows in items.items():
        for row in random.Random(f"{seed}-{kind}").sample(rows, SIZES[kind]):
            yield {"kind": kind, **row, "id": f"{kind} {row['id']}"}


def facts(records: Sequence[Facts]) -> Iterator[dict[str, Any]]:
    """Each fact with its answer."""
    for record in records:
        for number, fact in enumerate(record.facts, 1):
            row = {"id": f"{record.id} {number}", "question": record.question}
            yield {**row, "fact": fact, "answer": record.answer}


def revisions(records: Sequence[Facts], seed: int) -> Iterator[dict[str, Any]]:
    """Each fact that is revised, with the revision and the facts of its answer."""
    tasks: list[Task] = [Revise(id=row.id, question=row.question, facts=tuple(row.facts)) for row in records]
    changed = 0
    for index, reply in replies(EnglishTeacher(seed=seed), tasks, "revise"):
        record = records[index]
        assert isinstance(reply, FactList)
        for number, (fact, revised) in enumerate(zip(record.facts, reply.facts, strict=True), 1):
            if fact != revised:
                changed += 1
                row = {"id": f"{record.id} {number}", "question": record.question}
                yield {**row, "fact": fact, "revised": revised, "facts": record.facts}
    total = sum(len(record.facts) for record in records)
    print(f"  facts revised: {changed} of {total}, {changed / max(1, total):.0%}")


def rewrites(records: Sequence[Facts], seed: int) -> Iterator[dict[str, Any]]:
    """Each rewrite around half of a record's facts, drawn at random in place of the difficult ones."""
    tasks: list[Task] = []
    for row in records:
        half = -(-len(row.facts) // 2)
        chosen = sorted(record_rng(seed, "difficult", row.id).sample(range(len(row.facts)), half))
        picked = tuple(row.facts[index] for index in chosen)
        tasks.append(RewriteQA(id=row.id, question=row.question, answer=row.answer, facts=picked))
    for number, reply in replies(EnglishTeacher(seed=seed), tasks, "rewrite"):
        assert isinstance(reply, QuestionAnswer)
        row = records[number]
        texts = {"new_question": reply.question, "new_answer": reply.answer}
        yield {"id": row.id, "question": row.question, **texts}


def pairs(records: Sequence[Facts], seed: int) -> dict[str, list[dict[str, Any]]]:
    """The pairs of each aspect, as perturb makes them by default; prints what form alone tells of them."""
    records = list({record.id: record for record in records}.values())  # MedQuAD has some ids twice
    how = Perturbation(seed, beta_delete=0.5, depends_on=depends_on, links=links_of)
    settings = Settings("matched", list(ASPECTS), how, max_growth=1.1)
    rows = perturb(records, EnglishTeacher(seed=seed), settings, PerturbCounts())
    made = [row for row in rows if isinstance(row, Pair)]
    for aspect, rates in audit(made, folds=5, how=Resampling(seed)).items():
        print(f"  {aspect}: {rates['pairs']} pairs, form tells {rates['accuracy']:.0f} %", rates["marks"])
        print(f"    {warning(aspect, rates, 0.65) or 'no warning'}")
    texts = {"question", "chosen", "rejected"}
    return {
        aspect: [{"id": row.source, **row.model_dump(include=texts)} for row in made if row.aspect == aspect]
        for aspect in ASPECTS
    }


def report(path: Path) -> None:
    """Print the counts of both readers by kind and source, and their agreement, as a table; none of a reader
    who has not marked all items of a kind."""
    with path.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    print("| | reader | Dolly | MedQuAD | both | share | agreement, kappa |\n|---|---|---|---|---|---|---|")
    for kind in SIZES:
        items = [row for row in rows if row["item"].split()[0] == kind]
        readers = [reader for reader in ("a", "b") if all(row[reader] for row in items)]
        alike = sum(row["a"] == row["b"] for row in items) / len(items)
        kappa = cohen_kappa([row["a"] for row in items], [row["b"] for row in items])
        kappa = 1.0 if kappa is None else kappa  # all marks are one, and chance would agree always
        for reader in readers:
            cells = []
            for source in ("dolly", "medquad", ""):
                chosen = [row for row in items if f" {source}" in row["item"]]
                good = sum(row[reader] == "1" for row in chosen)
                cells.append(f"{good} of {len(chosen)}")
            low, high = binomtest(good, len(items)).proportion_ci(method="wilson")
            cells.append(f"{good / len(items):.0%} [{100 * low:.0f}, {100 * high:.0f}]")
            both = f"{alike:.0%}, {kappa:.2f}" if reader == "a" and "b" in readers else ""
            print("|", " | ".join([kind if reader == "a" else "", reader.upper(), *cells, both]), "|")


def main() -> None:
    """Parse, then draw and write, or count."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--data", type=Path, help="folder with dolly_train.json and medquad.jsonl.gz")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--marks", type=Path, help="CSV of the columns item, a and b (1: good, 0: not)")
    options = parser.parse_args()
    if options.marks:
        report(options.marks)
        return
    if not options.data or not options.out:
        parser.error("expected --data and --out to draw a sample, or --marks to count one")
    with options.out.open("w", encoding="utf-8") as stream:
        for name, source in (("dolly", dolly), ("medquad", medquad)):
            print(name)
            for row in drawn(source(options.data), options.seed):
                stream.write(json.dumps(row, ensure_ascii=False) + "\n")
    print(f"wrote {options.out}")


if __name__ == "__main__":
    main()
