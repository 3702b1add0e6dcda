"""probe: does each system hold true facts and whole answers more probable? `python -m stages.probe`

Without a judge: the held-out answers are split into facts and spoilt by the teacher of the training data.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

from tqdm import tqdm

from knowtuning.config.probe import ProbeStage
from knowtuning.core.params import load
from knowtuning.core.records import Example, Facts, Probed, read_jsonl, write_jsonl
from knowtuning.core.storage import write_json
from knowtuning.evaluation.stats import Resampling
from knowtuning.knowledge.aspects import Perturbation
from knowtuning.knowledge.extract import extract
from knowtuning.knowledge.probe import (
    PROBES,
    Tokens,
    contrasts,
    fitting,
    preference,
    probed,
    sides,
    summarise,
)
from knowtuning.knowledge.results import Results
from knowtuning.model.hardware import Hardware, detect
from knowtuning.model.load import load_context, load_system, weights_stamp
from knowtuning.model.prompt import load_formatter
from knowtuning.model.resume import Journal, resumable
from knowtuning.systems import adapter_of
from knowtuning.teacher.teachers import TEACHERS, Setting, open_teacher
from knowtuning.training.logps import add_head, completion_logps
from stages import CACHE, PARAMS, run

BASE, FACTS, OUT = Path("models/base"), Path("data/knowledge/facts.jsonl"), Path("data/probe")
REPLIES, PAIRS = OUT / "replies.jsonl", OUT / "pairs.jsonl"


def main() -> None:
    params = load(PARAMS, ProbeStage)
    section, predict, hardware = params.probe, params.predict, detect(os.environ)
    split = read_jsonl(Path(f"data/prepared/{predict.split}.jsonl"), Example)[: predict.limit]
    examples = [example for example in split[: section.limit] if example.answer.strip()]
    corpus = [fact for record in read_jsonl(FACTS, Facts) for fact in record.facts]
    teacher = open_teacher(
        params.teacher, Setting(os.environ, CACHE, seed=params.seed, corpus=corpus), REPLIES
    )
    extracted = Results.of(extract(examples, teacher))
    depends_on = TEACHERS[params.teacher.backend].depends_on
    perturbation = Perturbation(params.seed, section.beta_delete, depends_on=depends_on)
    spoilt = contrasts(extracted.rows, teacher, perturbation)
    formatter, longest = load_formatter(BASE, params.model), params.model.max_length
    rows = fitting(spoilt, formatter, context=min(longest, load_context(BASE) or longest))
    results = Results.of(chain(extracted.rejected, extracted.left_out, rows))
    results.write(PAIRS)
    teacher.save_replies(REPLIES)

    texts = [side for pair in results.rows for side in sides(pair, formatter)]
    systems = list(params.systems)
    inputs = [PAIRS, BASE, *(path for path in map(adapter_of, systems) if path)]
    settings = [params.model.model_dump(), hardware.fingerprint(), weights_stamp(BASE)]
    with resumable(CACHE, "probe", settings=settings, inputs=inputs) as state:
        journal = Journal(state)
        for system in tqdm(journal.todo(systems), "probe", disable=None):
            journal.put(system, _logps(system, texts, hardware))
        logps = journal.exchange()
    lengths = [len(completion) for _, completion in texts]
    ids = sorted({pair.source for pair in results.rows})
    scored: dict[str, list[Probed]] = {}
    for system in systems:
        values = [
            preference(pair, logps[system][2 * i : 2 * i + 2], lengths[2 * i : 2 * i + 2])
            for i, pair in enumerate(results.rows)
        ]
        scored[system] = probed(results.rows, values, system, ids)
    write_jsonl(OUT / "scores.jsonl", chain.from_iterable(scored.values()))
    counts = Counter(pair.aspect for pair in results.rows)
    metrics = {
        "questions": len(ids),
        "pairs": {name: counts[name] for name in PROBES},
        "systems": summarise(scored, Resampling(params.seed)),
    }
    write_json(Path("metrics/probe.json"), {**metrics, **results.counts(), **teacher.usage()})
    results.check(PAIRS, section.max_rejected, "probe.max_rejected")
    print(f"probe: {len(results.rows)} pairs of {len(ids)} questions")


def _logps(system: str, texts: Sequence[Tokens], hardware: Hardware) -> list[float]:
    """Summed log-probabilities of all texts under a system."""
    model = load_system(BASE, adapter_of(system), dtype=hardware.weights_dtype, device=hardware.device)
    add_head(model)
    return completion_logps(model, texts, hardware.forward_tokens)


if __name__ == "__main__":
    run(main)
