"""probe: does each system hold true facts and whole answers more probable? `python -m stages.probe`

Without a judge: the held-out answers are split into facts and spoilt by the teacher of the training data.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from functools import partial
from itertools import chain
from pathlib import Path

from knowtuning.config.probe import ProbeStage
from knowtuning.core.params import load
from knowtuning.core.records import Example, Facts, Pair, Probed, read_jsonl, write_jsonl
from knowtuning.core.storage import write_json
from knowtuning.evaluation.stats import Resampling, unit_of
from knowtuning.knowledge import probe
from knowtuning.knowledge.aspects import Perturbation
from knowtuning.knowledge.extract import extract
from knowtuning.knowledge.results import Results
from knowtuning.model.hardware import Hardware, detect
from knowtuning.model.load import load_context, load_system, weights_stamp
from knowtuning.model.prompt import Formatter, load_formatter
from knowtuning.model.resume import Journal, resumable
from knowtuning.systems import BASE, adapter_of
from knowtuning.teacher.tasks import Teacher
from knowtuning.teacher.teachers import TEACHERS, Setting, open_teacher
from knowtuning.training.logps import add_head, completion_logps
from stages import CACHE, PARAMS, run

FACTS, OUT = Path("data/knowledge/facts.jsonl"), Path("data/probe")
REPLIES, PAIRS = OUT / "replies.jsonl", OUT / "pairs.jsonl"


def main() -> None:
    params, hardware = load(PARAMS, ProbeStage), detect(os.environ)
    corpus = [fact for record in read_jsonl(FACTS, Facts) for fact in record.facts]
    setting = Setting(os.environ, CACHE, seed=params.seed, corpus=corpus)
    teacher = open_teacher(params.teacher, setting, REPLIES)
    formatter = load_formatter(BASE, params.model)
    split = read_jsonl(Path(f"data/prepared/{params.predict.split}.jsonl"), Example)
    examples = split[: params.predict.limit][: params.probe.limit]
    results = make_pairs(params, examples, teacher, formatter)
    results.write(PAIRS)
    teacher.save_replies(REPLIES)
    ids = sorted({pair.source for pair in results.rows})
    scored = score(params, results.rows, formatter, hardware, ids)
    write_jsonl(OUT / "scores.jsonl", chain.from_iterable(scored.values()))
    counts = Counter(pair.aspect for pair in results.rows)
    subjects = {example.id: unit_of(example) for example in examples}
    how = Resampling(params.seed, units=[subjects[question] for question in ids])
    metrics = {
        "questions": len(ids),
        "pairs": {name: counts[name] for name in probe.PROBES},
        "systems": probe.summarise(scored, how),
    }
    write_json(Path("metrics/probe.json"), {**metrics, **results.counts(), **teacher.usage()})
    way = "set probe.limit to 0 for a run without the probe"
    results.check(PAIRS, params.probe.max_rejected, "probe.max_rejected", way=way)
    print(f"probe: {len(results.rows)} pairs of {len(ids)} questions")


def make_pairs(
    params: ProbeStage, examples: Sequence[Example], teacher: Teacher, formatter: Formatter
) -> Results[Pair]:
    """Held-out answers against what the teacher makes of their facts, where both fit into the model."""
    answered = [example for example in examples if example.answer.strip()]
    extracted = Results.of(extract(answered, teacher))
    kind = TEACHERS[params.teacher.backend]
    depends_on, links = kind.depends_on, kind.links
    perturbation = Perturbation(params.seed, params.probe.beta_delete, depends_on=depends_on, links=links)
    longest = params.model.max_length
    context = min(longest, load_context(BASE) or longest)
    pairs = probe.fitting(probe.contrasts(extracted.rows, teacher, perturbation), formatter, context=context)
    return Results.of(chain(extracted.rejected, extracted.left_out, pairs))


def score(
    params: ProbeStage,
    pairs: Sequence[Pair],
    formatter: Formatter,
    hardware: Hardware,
    ids: Sequence[str],
) -> dict[str, list[Probed]]:
    """What each system prefers, by question; ids: of all questions."""
    systems = list(params.systems)
    texts = [side for pair in pairs for side in probe.sides(pair, formatter)]
    inputs = [PAIRS, BASE, *(path for path in map(adapter_of, systems) if path)]
    settings = [params.model.model_dump(), hardware.fingerprint(), weights_stamp(BASE)]
    with resumable(CACHE, "probe", settings=settings, inputs=inputs) as state:
        of_system = partial(_logps, texts=texts, hardware=hardware)
        logps = Journal(state).complete({system: system for system in systems}, of_system, "probe")
    lengths = [len(completion) for _, completion in texts]
    scored: dict[str, list[Probed]] = {}
    for system in systems:
        values = [
            probe.preference(pair, logps[system][2 * i : 2 * i + 2], lengths[2 * i : 2 * i + 2])
            for i, pair in enumerate(pairs)
        ]
        scored[system] = probe.probed(pairs, values, system, ids)
    return scored


def _logps(system: str, texts: Sequence[probe.Tokens], hardware: Hardware) -> list[float]:
    """Summed log-probabilities of all texts under a system; no model is loaded for none."""
    if not texts:
        return []
    model = load_system(BASE, adapter_of(system), dtype=hardware.weights_dtype, device=hardware.device)
    add_head(model)
    return completion_logps(model, texts, hardware.forward_tokens, title=f"probe: {system}")


if __name__ == "__main__":
    run(main)
