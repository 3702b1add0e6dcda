"""A seeded sample of what the english teacher makes of real text, to be read by people with a rubric.

    python -m benchmarks.data_quality --data FOLDER --seed 1 --out sample.jsonl

FOLDER has dolly_train.json and medquad.jsonl.gz. The sample has 120 facts, 60 revisions and 60 rewrites, half
from each source, each with its question and what stands around it; the shares left out are printed.
docs/data-quality.md has the rubric and the counts.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from knowtuning.core.records import Example, Facts
from knowtuning.core.storage import record_rng
from knowtuning.teacher.english import EnglishTeacher
from knowtuning.teacher.tasks import Extract, FactList, QuestionAnswer, Reply, Revise, RewriteQA, Task

ROWS = 4_000  # of each source
SIZES = {"fact": 60, "revision": 30, "rewrite": 30}  # of each source


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
    start, done = time.perf_counter(), 0
    for number, (_, outcome) in enumerate(teacher.run(tasks)):
        if isinstance(outcome, Reply):
            done += 1
            yield number, outcome
    share = 1 - done / max(1, len(tasks))
    print(f"  {what}: {done} of {len(tasks)}, {share:.0%} left out, {time.perf_counter() - start:.1f} s")


def drawn(examples: Sequence[Example], seed: int) -> Iterator[dict[str, Any]]:
    """The sample of one source, in the order facts, revisions, rewrites."""
    teacher = EnglishTeacher(seed=seed)
    work: list[Task] = [Extract(id=row.id, question=row.question, answer=row.answer) for row in examples]
    records = [
        Facts(
            id=examples[number].id,
            question=examples[number].question,
            answer=examples[number].answer,
            facts=reply.facts,
        )
        for number, reply in replies(teacher, work, "extract")
    ]
    found = {
        "fact": list(facts(records)),
        "revision": list(revisions(records, seed)),
        "rewrite": list(rewrites(records, seed)),
    }
    for kind, rows in found.items():
        for row in random.Random(f"{seed}-{kind}").sample(rows, SIZES[kind]):
            yield {"kind": kind, **row}


def facts(records: Sequence[Facts]) -> Iterator[dict[str, Any]]:
    """Each fact with its answer."""
    for record in records:
        for fact in record.facts:
            yield {"id": record.id, "question": record.question, "fact": fact, "answer": record.answer}


def revisions(records: Sequence[Facts], seed: int) -> Iterator[dict[str, Any]]:
    """Each fact that is revised, with the revision and the facts of its answer."""
    tasks: list[Task] = [Revise(id=row.id, question=row.question, facts=tuple(row.facts)) for row in records]
    changed = 0
    for number, reply in replies(EnglishTeacher(seed=seed), tasks, "revise"):
        record = records[number]
        assert isinstance(reply, FactList)
        for fact, revised in zip(record.facts, reply.facts, strict=True):
            if fact != revised:
                changed += 1
                yield {
                    "id": record.id,
                    "question": record.question,
                    "fact": fact,
                    "revised": revised,
                    "facts": record.facts,
                }
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
        yield {
            "id": row.id,
            "question": row.question,
            "new_question": reply.question,
            "new_answer": reply.answer,
        }


def main() -> None:
    """Parse, draw and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument(
        "--data", type=Path, required=True, help="folder with dolly_train.json and medquad.jsonl.gz"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    with given.out.open("w", encoding="utf-8") as stream:
        for name, source in (("dolly", dolly), ("medquad", medquad)):
            print(name)
            for row in drawn(source(given.data), given.seed):
                stream.write(json.dumps(row, ensure_ascii=False) + "\n")
    print(f"wrote {given.out}")


if __name__ == "__main__":
    main()
