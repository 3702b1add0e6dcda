"""rewrite: new questions and answers around the difficult facts (KA). `python -m stages.rewrite`"""

from __future__ import annotations

import os
from pathlib import Path

from tqdm import tqdm

from knowtuning.config.knowledge import RewriteStage
from knowtuning.core.params import load
from knowtuning.core.records import Scored, read_jsonl
from knowtuning.core.storage import write_json
from knowtuning.knowledge.results import Results
from knowtuning.knowledge.rewrite import Augmentation, rewrite, summarise
from knowtuning.teacher.factory import build_teacher, load_responses, save_responses, usage_metrics
from knowtuning.teacher.openai.limits import limits_from_environment
from stages import CACHE, PARAMS, run

SCORED, OUT = Path("data/knowledge/scored.jsonl"), Path("data/knowledge/ka.jsonl")
METRICS = Path("metrics/rewrite.json")
# The replies behind the output travel with it, so that a clone can repeat the stage without a key.
RESPONSES = Path("data/knowledge/responses/rewrite.jsonl")


def main() -> None:
    params = load(PARAMS, RewriteStage)
    records = read_jsonl(SCORED, Scored)
    teacher = build_teacher(
        params.teacher,
        seed=params.seed,
        corpus=[fact.text for record in records for fact in record.facts],
        prompts=Path("prompts"),
        cache=CACHE,
        api_key=os.environ.get("OPENAI_API_KEY"),
        hardware=limits_from_environment(os.environ),
    )
    load_responses(teacher, RESPONSES, root=Path.cwd())
    counts = Augmentation()
    rows = rewrite(records, teacher, alpha=params.rewrite.alpha, counts=counts)
    own_bar = params.teacher.backend != "rules"
    bar = tqdm(rows, "rewrite", len(records), unit="answer", mininterval=1, disable=own_bar)
    results = Results.of(bar)
    results.write(OUT)
    save_responses(teacher, RESPONSES)
    write_json(METRICS, {**summarise(results, counts), **usage_metrics(teacher)})
    results.check(OUT, params.rewrite.max_rejected, "rewrite.max_rejected")
    print(f"rewrite: {len(results.rows)} rewrites, {len(counts.unchanged)} repeated their example")


if __name__ == "__main__":
    run(main)
