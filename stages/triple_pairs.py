"""triple_pairs: preference pairs in prose that is made from triples. `python -m stages.triple_pairs`"""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import replace
from pathlib import Path

from knowtuning.baselines.samples import drawn
from knowtuning.baselines.triples import WORSE, compare, triples_in
from knowtuning.config.triples import TriplePairsStage
from knowtuning.core.params import load
from knowtuning.core.records import Facts, Rewrite, read_jsonl
from knowtuning.core.storage import write_json
from knowtuning.knowledge.results import Results
from knowtuning.teacher.teachers import Setting, open_teacher
from stages import CACHE, PARAMS, run

FACTS, ROWS = Path("data/knowledge/facts.jsonl"), Path("data/baselines/kg/rows.jsonl")
FOLDER = Path("data/baselines/kgkc")
OUT, REPLIES = FOLDER / "pairs.jsonl", FOLDER / "replies.jsonl"


def main() -> None:
    params = load(PARAMS, TriplePairsStage)
    section, records = params.kgkc, read_jsonl(FACTS, Facts)
    corpus = [fact for record in records for fact in record.facts]
    setting = Setting(os.environ, CACHE, seed=params.seed, corpus=corpus)
    teacher = open_teacher(params.teacher, setting, REPLIES)
    triples = {row.source: triples_in(row) for row in read_jsonl(ROWS, Rewrite)}
    asked = [record for record in records if record.id in triples]
    skipped: Counter[str] = Counter()
    beta = section.beta_delete
    rows = compare(asked, triples, teacher, beta_delete=beta, seed=params.seed, skipped=skipped)
    results = Results.of(rows)
    pairs = drawn(results.rows, section.limit, params.seed)
    replace(results, rows=pairs).write(OUT)
    teacher.save_replies(REPLIES)
    kinds = Counter(pair.aspect for pair in pairs)
    counts = {
        "questions": len(asked),
        "pairs": len(pairs),
        "pairs_possible": len(results.rows),
        "pairs_by_kind": {kind: kinds[kind] for kind in WORSE},
        "skipped": {kind: skipped[kind] for kind in WORSE},
    }
    write_json(Path("metrics/pairs_kgkc.json"), {**counts, **results.counts(), **teacher.usage()})
    way = "use another teacher.backend, or take kg out of first_version"
    results.check(OUT, section.max_rejected, "kgkc.max_rejected", way=way)
    print(f"triple_pairs: {len(pairs)} pairs, {len(results.left_out)} left out")


if __name__ == "__main__":
    run(main)
