"""perturb: preference pairs that differ in knowledge (KC). `python -m stages.perturb`"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from knowtuning.config.perturb import PerturbStage
from knowtuning.core.params import load
from knowtuning.core.records import Facts, read_jsonl
from knowtuning.core.storage import write_json
from knowtuning.evaluation.stats import Resampling
from knowtuning.knowledge.aspects import Perturbation
from knowtuning.knowledge.audit import audit, warning
from knowtuning.knowledge.perturb import PerturbCounts, Settings, perturb, summarise
from knowtuning.knowledge.results import Results
from knowtuning.teacher.teachers import TEACHERS, Setting, open_teacher
from stages import CACHE, PARAMS, run

FACTS, OUT = Path("data/knowledge/facts.jsonl"), Path("data/knowledge/pairs.jsonl")
METRICS, AUDIT = Path("metrics/perturb.json"), Path("metrics/audit.json")
REPLIES = Path("data/knowledge/replies/perturb.jsonl")


def main() -> None:
    params = load(PARAMS, PerturbStage)
    section = params.perturb
    records = read_jsonl(FACTS, Facts)
    setting = Setting(
        os.environ,
        CACHE,
        seed=params.seed,
        corpus=[fact for record in records for fact in record.facts],
        # At most a pair of every record in every aspect.
        most_failed=section.max_rejected * len(records) * len(section.aspects),
    )
    teacher = open_teacher(params.teacher, setting, REPLIES)
    kind = TEACHERS[params.teacher.backend]
    shares = section.beta_delete, section.revise_share
    perturbation = Perturbation(params.seed, *shares, kind.depends_on, kind.links)
    settings = Settings(
        *(section.style, section.aspects, perturbation, section.max_growth, section.fill),
        revise=section.revise,
        offset=section.offset,
    )
    counts = PerturbCounts()
    results = Results.of(perturb(records, teacher, settings, counts))
    results.write(OUT)
    teacher.save_replies(REPLIES)
    write_json(METRICS, {**summarise(results, settings, counts), **teacher.usage()})
    audited = audit(results.rows, folds=section.audit_folds, how=Resampling(params.seed))
    write_json(AUDIT, audited)
    for aspect, rates in audited.items():
        line = warning(aspect, rates, section.max_given_away)
        if line:
            sys.stderr.write(f"warning: perturb: {line}\n")
    way = "set perturb.aspects to those that pairs can be made of, or use another teacher.backend"
    results.check(OUT, section.max_rejected, "perturb.max_rejected", way=way)
    print(
        f"perturb: {len(results.rows)} pairs, {counts.skipped.total()} impossible with so few facts, "
        f"{len(results.left_out)} left out"
    )


if __name__ == "__main__":
    run(main)
