"""extract: split each training answer into atomic facts. `python -m stages.extract`"""

from __future__ import annotations

import os
from pathlib import Path

from tqdm import tqdm

from knowtuning.config.knowledge import ExtractStage
from knowtuning.core.params import load
from knowtuning.core.records import Example, read_jsonl
from knowtuning.core.storage import write_json
from knowtuning.knowledge.extract import extract, summarise
from knowtuning.knowledge.results import Results
from knowtuning.teacher.factory import build_teacher, load_responses, save_responses, usage_metrics
from knowtuning.teacher.openai.limits import limits_from_environment
from stages import CACHE, PARAMS, run

TRAIN, OUT = Path("data/prepared/train.jsonl"), Path("data/knowledge/atoms.jsonl")
METRICS = Path("metrics/extract.json")
# The replies behind the output travel with it, so that a clone can repeat the stage without a key.
RESPONSES = Path("data/knowledge/responses/extract.jsonl")


def main() -> None:
    params = load(PARAMS, ExtractStage)
    examples = read_jsonl(TRAIN, Example)
    teacher = build_teacher(
        params.teacher,
        seed=params.seed,
        corpus=(),
        prompts=Path("prompts"),
        cache=CACHE,
        api_key=os.environ.get("OPENAI_API_KEY"),
        hardware=limits_from_environment(os.environ),
    )
    load_responses(teacher, RESPONSES, root=Path.cwd())
    rows = extract(examples, teacher)
    own_bar = params.teacher.backend != "rules"
    bar = tqdm(rows, "extract", len(examples), unit="answer", mininterval=1, disable=own_bar)
    results = Results.of(bar)
    results.write(OUT)
    save_responses(teacher, RESPONSES)
    metrics = summarise(results)
    write_json(METRICS, {**metrics, **usage_metrics(teacher)})
    results.check(OUT, params.extract.max_rejected, "extract.max_rejected")
    print(f"extract: {metrics['facts']} facts of {metrics['questions']} answers")


if __name__ == "__main__":
    run(main)
