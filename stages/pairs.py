"""pairs: preference pairs of a baseline, from its sampled answers. `python -m stages.pairs facttune_fs`

A judge compares samples (rlaif), each gets a score (facttune_fs, facttune_mc), or the best one is set against
itself made worse (kc_sampled). What the pairs rest on is written beside them: judgements, verdicts or
confidences, and the replies behind these.
"""

from __future__ import annotations

import itertools
import os
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from knowtuning.baselines import facttune, rlaif
from knowtuning.baselines.samples import as_predictions, best_samples, by_question, drawn
from knowtuning.config.baselines import FactTuneMcParams, PairsStage, pairs_stage
from knowtuning.core.params import load
from knowtuning.core.records import Example, Pair, Record, Sample, Verified, read_jsonl, write_jsonl
from knowtuning.core.storage import write_json
from knowtuning.generation.generate import Decoding, generate, load_backend
from knowtuning.knowledge.aspects import ASPECTS, Perturbation
from knowtuning.knowledge.extract import extract
from knowtuning.knowledge.perturb import PerturbCounts, Settings, perturb, summarise
from knowtuning.knowledge.results import Results, reason_kind
from knowtuning.model.hardware import check_single_process, detect
from knowtuning.model.load import weights_stamp
from knowtuning.model.prompt import load_formatter
from knowtuning.model.resume import Journal, resumable
from knowtuning.systems import BASE, ON_SAMPLES
from knowtuning.teacher.tasks import Failure, Teacher
from knowtuning.teacher.teachers import TEACHERS, Setting, open_teacher
from knowtuning.verification import jury
from stages import CACHE, PARAMS, named, run

PREPARED, OUT = Path("data/prepared"), Path("data/baselines")


@dataclass(frozen=True)
class PairInputs:
    """What the pairs of a baseline are computed from. samples: by training question. folder: of its files."""

    baseline: str
    params: PairsStage
    section: Any
    examples: list[Example]
    samples: Mapping[str, Sequence[Sample]]
    folder: Path

    @property
    def replies(self) -> Path:
        """The replies behind the pairs, which travel with them."""
        return self.folder / "replies.jsonl"


@dataclass(frozen=True)
class PairOutputs:
    """The pairs of a baseline, and what they rest on.

    without: how many questions give no pair, by reason. missing: of `total` samples or questions, those
    without a verdict. evidence: records by the name of their file. metrics: further numbers.
    check: raises where something else is wrong, once all is on disk.
    """

    pairs: list[Pair]
    without: Counter[str]
    missing: int
    total: int
    evidence: Mapping[str, Sequence[Record]]
    teacher: Teacher
    metrics: dict[str, Any] = field(default_factory=dict)
    check: Callable[[], None] = lambda: None


def appoint(inputs: PairInputs) -> tuple[jury.Jury, Teacher]:
    """Who judges, and whose usage counts; see jury.open_jury. Raises ValueError where nobody judges."""
    appointed, paid = jury.open_jury(inputs.params.judge, os.environ, CACHE, PREPARED, inputs.replies)
    if appointed.status != "computed":
        raise ValueError(f"{inputs.baseline} is {appointed.status}; or take it out of baselines")
    return appointed, paid


def rlaif_pairs(inputs: PairInputs) -> PairOutputs:
    """Two samples of each question, compared in both orders."""
    appointed, paid = appoint(inputs)
    judge = appointed.judge(reference=inputs.section.reference)
    assert judge is not None, "whoever is appointed is a truth or a teacher"
    compared = rlaif.compare(inputs.examples, inputs.samples, judge)
    line = jury.position_warning(compared.judgements)
    if line:
        sys.stderr.write(f"warning: pairs: {line}\n")
    unjudged, evidence = compared.without["unjudged"], {"judgements": compared.judgements}
    return PairOutputs(compared.pairs, compared.without, unjudged, len(compared.judgements), evidence, paid)


def verify_samples(inputs: PairInputs) -> tuple[list[Verified], Teacher]:
    """The verdicts on the facts of all samples, and whose usage counts."""
    appointed, paid = appoint(inputs)
    predictions = as_predictions(inputs.examples, inputs.samples)
    return appointed.verify(inputs.examples, predictions, recall=False), paid


def facttune_fs_pairs(inputs: PairInputs) -> PairOutputs:
    """Samples ranked by the share of their facts that are supported."""
    verdicts, paid = verify_samples(inputs)
    shares = {(row.question, row.system): facttune.supported_share(row) for row in verdicts}
    samples = itertools.chain.from_iterable(inputs.samples.values())
    scores = {sample.id: shares[sample.source, str(sample.number)] for sample in samples}
    missing = sum(bool(row.unscored) for row in verdicts)
    return _ranked(inputs, scores, missing, {"verdicts": verdicts}, paid)


def facttune_mc_pairs(inputs: PairInputs) -> PairOutputs:
    """Samples ranked by how sure the base model is of their facts."""
    samples = [sample for group in inputs.samples.values() for sample in group]
    setting = Setting(os.environ, CACHE, seed=inputs.params.seed)
    teacher = open_teacher(inputs.params.teacher, setting, inputs.replies)
    stated = facttune.state(samples, teacher)
    asked = facttune.ask_for_facts(samples, stated, teacher)
    failures = [each.reply for each in asked if isinstance(each.reply, Failure)]
    if len(failures) == len(asked):
        first = next(iter([*stated.failures.values(), *failures]), None)
        raise ValueError(
            f"{inputs.baseline} is not computed: none of {len(asked)} facts has a question, and "
            f"{len(stated.failures)} samples have no facts"
            + (f"; the first reason: {first.reason}" if first else "")
        )
    rows = list(facttune.confidences(asked, _answers(inputs, asked)))
    of_facts: dict[str, dict[str, float]] = {}
    for row in rows:
        of_facts.setdefault(row.source, {})[row.text] = row.confidence
    scores = {
        sample.id: facttune.mean_confidence(stated.facts[sample.id], of_facts.get(sample.source, {}))
        for sample in samples
    }
    # What the teacher says is beyond it is left out, and no fault.
    missing = sum(not failure.expected for failure in stated.failures.values())
    reasons = Counter(reason_kind(each.reason) for each in [*stated.failures.values(), *failures])
    metrics = {
        "facts": len(asked),
        "facts_asked": len(rows),
        "confidence_mean": round(sum(row.confidence for row in rows) / len(rows), 4),
        "left_out_by_reason": dict(sorted(reasons.items())),
    }
    return _ranked(inputs, scores, missing, {"confidences": rows}, teacher, metrics)


def _answers(inputs: PairInputs, asked: Sequence[facttune.Asked]) -> dict[tuple[str, str], list[str]]:
    """The base model's answers to each question behind its opening."""
    params, section = inputs.params, inputs.section
    assert isinstance(section, FactTuneMcParams)
    check_single_process(os.environ, "pairs")
    hardware, formatter = detect(os.environ), load_formatter(BASE, params.model)
    decoding = Decoding(
        section.max_new_tokens, section.temperature, section.top_p, samples=section.answers, seed=params.seed
    )
    replies = {
        f"{each.reply.question}\n{each.reply.opening}": each.reply
        for each in asked
        if not isinstance(each.reply, Failure)
    }
    prompts = {
        key: [
            *formatter.prompt(reply.question),
            *(formatter.completion(reply.opening, end=False) if reply.opening.strip() else []),
        ]
        for key, reply in replies.items()
    }
    settings = [params.model_dump(), hardware.fingerprint(), weights_stamp(BASE), prompts]
    with resumable(CACHE, f"pairs-{inputs.baseline}", settings=settings, inputs=[BASE]) as state:
        backend = load_backend(BASE, None, formatter, decoding, hardware)
        answers = generate(prompts, backend, decoding, Journal(state), heading="ask the base model")
    return {
        (reply.question, reply.opening): [formatter.decode(tokens) for tokens in answers[key]]
        for key, reply in replies.items()
    }


def _ranked(
    inputs: PairInputs,
    scores: Mapping[str, float | None],
    missing: int,
    evidence: Mapping[str, Sequence[Record]],
    teacher: Teacher,
    metrics: Mapping[str, Any] | None = None,
) -> PairOutputs:
    """The pairs of samples with scores; missing: samples that no verdict came for."""
    known = {sample: score for sample, score in scores.items() if score is not None}
    most, seed = inputs.section.max_pairs, inputs.params.seed
    ranked = facttune.rank(inputs.baseline, inputs.samples, known, most=most, seed=seed)
    total = sum(map(len, inputs.samples.values()))
    mean = round(sum(known.values()) / len(known), 4) if known else None
    metrics = {"scored": len(known), "score_mean": mean, **(metrics or {})}
    return PairOutputs(ranked.pairs, ranked.without, missing, total, evidence, teacher, metrics)


def kc_sampled_pairs(inputs: PairInputs) -> PairOutputs:
    """The best sample of each question, against itself made worse in each aspect."""
    verdicts, paid = verify_samples(inputs)
    best, section, seed = best_samples(inputs.samples, verdicts), inputs.section, inputs.params.seed
    true = [each.text for row in verdicts for each in row.sentences if each.verdict == "correct"]
    replies = inputs.folder / "teacher.jsonl"
    teacher = open_teacher(inputs.params.teacher, Setting(os.environ, CACHE, seed=seed, corpus=true), replies)
    facts = Results.of(extract(best, teacher))
    kind = TEACHERS[inputs.params.teacher.backend]
    how = Perturbation(seed, section.beta_delete, section.revise_share, kind.depends_on, kind.links)
    counts, settings = PerturbCounts(), Settings(section.style, list(ASPECTS), how)
    pairs = perturb(facts.rows, teacher, settings, counts)
    results = Results.of(itertools.chain(facts.rejected, facts.left_out, pairs))
    teacher.save_replies(replies)
    out = inputs.folder / "pairs.jsonl"
    results.write(out)
    metrics = summarise(results, settings, counts)
    return PairOutputs(
        results.rows,
        Counter({"no_sample_without_a_false_fact": len(inputs.samples) - len(best)}),
        sum(bool(row.unscored) for row in verdicts),
        len(verdicts),
        {"verdicts": verdicts},
        paid,
        {"pairs_by_kind": metrics.pop("pairs"), **metrics, "perturbing": teacher.usage()},
        partial(results.check, out, section.max_rejected, f"{inputs.baseline}.max_rejected"),
    )


BASELINES: dict[str, Callable[[PairInputs], PairOutputs]] = {
    "rlaif": rlaif_pairs,
    "facttune_fs": facttune_fs_pairs,
    "facttune_mc": facttune_mc_pairs,
    "kc_sampled": kc_sampled_pairs,
}


def main() -> None:
    baseline = named(BASELINES, "baseline")
    params: Any = load(PARAMS, pairs_stage(baseline))
    section, folder = getattr(params, baseline), OUT / baseline
    samples = by_question(read_jsonl(Path(f"data/samples/{ON_SAMPLES[baseline].continues}.jsonl"), Sample))
    examples = [example for example in read_jsonl(PREPARED / "train.jsonl", Example) if example.id in samples]
    outputs = BASELINES[baseline](PairInputs(baseline, params, section, examples, samples, folder))
    pairs = drawn(outputs.pairs, section.limit, params.seed)
    for name, rows in {**outputs.evidence, "pairs": pairs}.items():
        write_jsonl(folder / f"{name}.jsonl", rows)
    outputs.teacher.save_replies(folder / "replies.jsonl")
    metrics = {
        "questions": len(examples),
        "samples": sum(map(len, samples.values())),
        "cut_off": sum(sample.truncated for group in samples.values() for sample in group),
        "pairs": len(pairs),
        "pairs_possible": len(outputs.pairs),
        "questions_without_pair": dict(sorted(outputs.without.items())),
        "without_verdict": outputs.missing,
        **outputs.metrics,
        **outputs.teacher.usage(),
    }
    write_json(Path(f"metrics/pairs_{baseline}.json"), metrics)
    # Last: all that is finished is on disk.
    key = "max_unjudged" if baseline == "rlaif" else "max_unscored"
    limit = getattr(section, key)
    if outputs.missing > limit * outputs.total:
        raise ValueError(
            f"{outputs.missing} of {outputs.total} have no verdict, {baseline}.{key} allows {limit:g} of "
            f"them; see the reasons in {folder}, run again to ask for these alone, or raise it"
        )
    outputs.check()
    reasons = ", ".join(f"{count} {reason}" for reason, count in outputs.without.most_common() if count)
    none = f"{outputs.without.total()} questions give none{f' ({reasons})' if reasons else ''}"
    print(f"pairs: {len(pairs)} of {baseline}, {none}")


if __name__ == "__main__":
    run(main)
