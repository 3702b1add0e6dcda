"""rewrite: new questions and answers around the difficult facts (KA). `python -m stages.rewrite`"""

from __future__ import annotations

import os
from pathlib import Path

from knowtuning.config.knowledge import RewriteStage
from knowtuning.core.params import load
from knowtuning.core.records import ScoredFacts, read_jsonl
from knowtuning.core.storage import write_json
from knowtuning.knowledge.results import Results, bar
from knowtuning.knowledge.rewrite import Augmentation, check_recall, rewrite, summarise
from knowtuning.teacher.teachers import Setting, open_teacher
from stages import CACHE, PARAMS, run

SCORED, OUT = Path("data/knowledge/scored_facts.jsonl"), Path("data/knowledge/rewrites.jsonl")
METRICS = Path("metrics/rewrite.json")
REPLIES = Path("data/knowledge/replies/rewrite.jsonl")


def main() -> None:
    params = load(PARAMS, RewriteStage)
    records = read_jsonl(SCORED, ScoredFacts)
    section = params.rewrite
    check_recall(records, section.select)
    setting = Setting(
        os.environ,
        CACHE,
        seed=params.seed,
        corpus=[fact.text for record in records for fact in record.facts],
        most_failed=section.max_rejected * len(records),
    )
    teacher = open_teacher(params.teacher, setting, REPLIES)
    counts = Augmentation()
    rows = rewrite(
        *(records, teacher),
        alpha=section.alpha,
        counts=counts,
        min_stated=section.min_stated,
        select=section.select,
        seed=params.seed,
    )
    results = Results.of(bar(rows, "rewrite", len(records), teacher))
    results.write(OUT)
    teacher.save_replies(REPLIES)
    write_json(METRICS, {**summarise(results, counts), **teacher.usage()})
    way = "set rewrite.alpha to 0 to go on without rewrites, or use another teacher.backend"
    results.check(OUT, section.max_rejected, "rewrite.max_rejected", way=way)
    print(
        f"rewrite: {len(results.rows)} rewrites, {len(counts.unchanged)} repeated their example, "
        f"{len(results.left_out)} left out"
    )


if __name__ == "__main__":
    run(main)
