"""triples: training rows that ask for knowledge as triples. `python -m stages.triples`"""

from __future__ import annotations

import os
from pathlib import Path

from knowtuning.baselines.triples import generation_rows, triples_in
from knowtuning.config.triples import TriplesStage
from knowtuning.core.params import load
from knowtuning.core.records import Facts, read_jsonl
from knowtuning.core.storage import write_json
from knowtuning.knowledge.results import Results
from knowtuning.teacher.teachers import Setting, open_teacher
from stages import CACHE, PARAMS, run

FACTS, FOLDER = Path("data/knowledge/facts.jsonl"), Path("data/baselines/kg")
OUT, REPLIES = FOLDER / "rows.jsonl", FOLDER / "replies.jsonl"


def main() -> None:
    params = load(PARAMS, TriplesStage)
    records = read_jsonl(FACTS, Facts)
    teacher = open_teacher(params.teacher, Setting(os.environ, CACHE, seed=params.seed), REPLIES)
    results = Results.of(generation_rows(records, teacher))
    results.write(OUT)
    teacher.save_replies(REPLIES)
    counts = {
        "questions": len(records),
        "rows": len(results.rows),
        "facts": sum(len(row.facts) for row in results.rows),
        "triples": sum(len(triples_in(row)) for row in results.rows),
    }
    write_json(Path("metrics/triples.json"), {**counts, **results.counts(), **teacher.usage()})
    way = "use another teacher.backend, or take kg out of first_version"
    results.check(OUT, params.kg.max_rejected, "kg.max_rejected", way=way)
    print(f"triples: {counts['triples']} of {counts['facts']} facts, {len(results.left_out)} rows left out")


if __name__ == "__main__":
    run(main)
