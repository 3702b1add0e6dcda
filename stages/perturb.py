"""perturb: preference pairs that differ in knowledge (KC). `python -m stages.perturb`"""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

from tqdm import tqdm

from knowtuning.config.knowledge import PerturbStage
from knowtuning.core.params import load
from knowtuning.core.records import Atoms, read_jsonl
from knowtuning.core.storage import write_json
from knowtuning.knowledge.perturb import Comparison, Settings, perturb, summarise
from knowtuning.knowledge.results import Results
from knowtuning.teacher.factory import build_teacher, load_responses, save_responses, usage_metrics
from knowtuning.teacher.openai.limits import limits_from_environment
from stages import CACHE, PARAMS, run

ATOMS, OUT = Path("data/knowledge/atoms.jsonl"), Path("data/knowledge/kc.jsonl")
METRICS = Path("metrics/perturb.json")
# The replies behind the output travel with it, so that a clone can repeat the stage without a key.
RESPONSES = Path("data/knowledge/responses/perturb.jsonl")


def main() -> None:
    params = load(PARAMS, PerturbStage)
    section = params.perturb
    records = read_jsonl(ATOMS, Atoms)
    teacher = build_teacher(
        params.teacher,
        seed=params.seed,
        corpus=[fact for record in records for fact in record.facts],
        prompts=Path("prompts"),
        cache=CACHE,
        api_key=os.environ.get("OPENAI_API_KEY"),
        hardware=limits_from_environment(os.environ),
    )
    load_responses(teacher, RESPONSES, root=Path.cwd())
    settings = Settings(section.style, section.aspects, section.beta_delete, params.seed)
    counts = Comparison()
    own_bar = params.teacher.backend != "rules"
    bar = partial(tqdm, unit="answer", mininterval=1, disable=own_bar)
    results = Results.of(perturb(records, teacher, settings, counts, progress=bar))
    results.write(OUT)
    save_responses(teacher, RESPONSES)
    write_json(METRICS, {**summarise(results, counts), **usage_metrics(teacher)})
    results.check(OUT, section.max_rejected, "perturb.max_rejected")
    print(f"perturb: {len(results.rows)} pairs, {counts.skipped.total()} impossible with a single fact")


if __name__ == "__main__":
    run(main)
