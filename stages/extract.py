"""extract: split each training answer into atomic facts. `python -m stages.extract`"""

from __future__ import annotations

import os
from pathlib import Path

from knowtuning.config.knowledge import ExtractStage
from knowtuning.core.params import load
from knowtuning.core.records import Example, read_jsonl
from knowtuning.core.storage import write_json
from knowtuning.knowledge.extract import extract, summarise
from knowtuning.knowledge.results import Results, bar
from knowtuning.teacher.teachers import Setting, open_teacher
from stages import CACHE, PARAMS, run

TRAIN, OUT = Path("data/prepared/train.jsonl"), Path("data/knowledge/facts.jsonl")
METRICS = Path("metrics/extract.json")
REPLIES = Path("data/knowledge/replies/extract.jsonl")


def main() -> None:
    params = load(PARAMS, ExtractStage)
    examples = read_jsonl(TRAIN, Example)
    section = params.extract
    setting = Setting(os.environ, CACHE, seed=params.seed, most_failed=section.max_rejected * len(examples))
    teacher = open_teacher(params.teacher, setting, REPLIES)
    rows = extract(examples, teacher, min_covered=section.min_covered, max_foreign=section.max_foreign)
    results = Results.of(bar(rows, "extract", len(examples), teacher))
    results.write(OUT)
    teacher.save_replies(REPLIES)
    metrics = summarise(results)
    write_json(METRICS, {**metrics, **teacher.usage()})
    results.check(OUT, section.max_rejected, "extract.max_rejected")
    reasons = metrics["left_out_by_reason"]
    first = f", most often: {max(reasons, key=reasons.get)}" if reasons else ""
    print(
        f"extract: {metrics['facts']} facts of {metrics['questions']} answers, {metrics['left_out']} left out"
        f"{first}"
    )


if __name__ == "__main__":
    run(main)
