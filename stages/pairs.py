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

from knowtuning.baselines import confidence, facttune, rlaif
from knowtuning.baselines.samples import as_predictions, best_samples, by_question, drawn
from knowtuning.config.baselines import FactTuneMcParams, PairsStage, pairs_stage
from knowtuning.config.verify import local_paths
from knowtuning.core.params import check_watched, load
from knowtuning.core.records import Example, Pair, Record, Sample, read_jsonl, write_jsonl
from knowtuning.core.storage import write_json
from knowtuning.core.tables import entry
from knowtuning.generation.backends import opened
from knowtuning.generation.generate import Decoding, generate
from knowtuning.knowledge.aspects import ASPECTS, Perturbation
from knowtuning.knowledge.extract import extract
from knowtuning.knowledge.perturb import Comparison, Settings, perturb, summarise
from knowtuning.knowledge.results import Results, reason_kind
from knowtuning.model.hardware import alone, detect
from knowtuning.model.load import weights_stamp
from knowtuning.model.prompt import load_formatter
from knowtuning.model.resume import Journal, resumable
from knowtuning.systems import ON_REQUEST
from knowtuning.teacher.tasks import Failure, FreeTeacher, Teacher
from knowtuning.teacher.teachers import TEACHERS, Setting, open_teacher
from knowtuning.verification import jury
from knowtuning.verification.judgements import Judge
from knowtuning.verification.judges import ExactJudge, TeacherJudge
from knowtuning.verification.passages import knowledge_source
from knowtuning.world.verifier import Truth
from stages import CACHE, PARAMS, run

BASE, PREPARED, OUT = Path("models/base"), Path("data/prepared"), Path("data/baselines")
Samples = Mapping[str, Sequence[Sample]]
# A ground truth is paid as little as a free teacher.
Paid = Teacher | FreeTeacher


@dataclass(frozen=True)
class Inputs:
    """What a maker of pairs works with. folder: for its replies and what its pairs rest on."""

    baseline: str
    params: PairsStage
    section: Any
    examples: list[Example]
    samples: Samples
    folder: Path

    @property
    def replies(self) -> Path:
        """The replies behind the pairs, which travel with them."""
        return self.folder / "replies.jsonl"


@dataclass(frozen=True)
class Made:
    """Pairs, and why questions give none; missing: of how many samples or questions no verdict came.

    check: fails where something else is wrong, once all is on disk.
    """

    pairs: list[Pair]
    without: Counter[str]
    missing: int
    total: int
    evidence: dict[str, Sequence[Record]]
    teacher: Paid
    more: dict[str, Any] = field(default_factory=dict)
    check: Callable[[], None] = lambda: None


def appointed(inputs: Inputs) -> tuple[jury.Jury, Paid]:
    """Who judges by the section `judge`. Raises ValueError where nobody does: nothing can be computed."""
    judge, truth = inputs.params.judge, Truth.find(PREPARED / "truth.json")
    check_watched(local_paths(judge))
    source = knowledge_source(judge, PREPARED / "train.jsonl")
    setting = Setting(os.environ, CACHE, section="judge")
    teacher = open_teacher(judge.teacher, setting, inputs.replies) if judge.teacher else None
    judges = jury.appoint(judge.backend, truth, teacher, source)
    if judges.status != "computed":
        raise ValueError(f"{inputs.baseline} is {judges.status}; or take it out of baselines")
    return judges, teacher or FreeTeacher()


def make_rlaif(inputs: Inputs) -> Made:
    """Two samples of each question, compared in both orders."""
    judges, paid = appointed(inputs)
    judge: Judge
    if judges.truth:
        judge = ExactJudge(judges.truth)
    else:
        assert judges.teacher is not None, "whoever is appointed is a truth or a teacher"
        judge = TeacherJudge(judges.teacher, reference=inputs.section.reference)
    made = rlaif.compare(inputs.examples, inputs.samples, judge)
    line = jury.position_warning(made.judgements)
    if line:
        sys.stderr.write(f"warning: pairs: {line}\n")
    return Made(
        made.pairs,
        made.without,
        made.without["unjudged"],
        len(made.judgements),
        {"judgements": made.judgements},
        paid,
    )


def make_facttune_fs(inputs: Inputs) -> Made:
    """Samples ranked by the share of their facts that are supported."""
    judges, paid = appointed(inputs)
    verdicts = judges.verify(inputs.examples, as_predictions(inputs.examples, inputs.samples), recall=False)
    by_name = {(row.question, row.system): facttune.supported_share(row) for row in verdicts}
    scores = {
        sample.id: score
        for group in inputs.samples.values()
        for sample in group
        if (score := by_name[sample.source, str(sample.number)]) is not None
    }
    missing = sum(bool(row.unscored) for row in verdicts)
    return _ranked(inputs, scores, missing, {"verdicts": verdicts}, paid)


def make_facttune_mc(inputs: Inputs) -> Made:
    """Samples ranked by how sure the base model is of their facts."""
    every = [sample for group in inputs.samples.values() for sample in group]
    setting = Setting(os.environ, CACHE, seed=inputs.params.seed)
    teacher = open_teacher(inputs.params.teacher, setting, inputs.replies)
    stated = confidence.state(every, teacher)
    asked = confidence.ask_for_facts(every, stated, teacher)
    failures = [each.reply for each in asked if isinstance(each.reply, Failure)]
    if len(failures) == len(asked):
        first = next(iter([*stated.failures.values(), *failures]), None)
        raise ValueError(
            f"{inputs.baseline} is not computed: none of {len(asked)} facts has a question, and "
            f"{len(stated.failures)} samples have no facts"
            + (f"; the first reason: {first.reason}" if first else "")
        )
    rows = list(confidence.confidences(asked, _answers(inputs, asked)))
    known: dict[str, dict[str, float]] = {}
    for row in rows:
        known.setdefault(row.source, {})[row.text] = row.confidence
    scores = {
        sample.id: score
        for sample in every
        if (score := facttune.mean_confidence(stated.facts[sample.id], known.get(sample.source, {})))
        is not None
    }
    # What the teacher says is beyond it is left out, and no fault.
    missing = sum(not failure.expected for failure in stated.failures.values())
    reasons = Counter(reason_kind(each.reason) for each in [*stated.failures.values(), *failures])
    more = {
        "facts": len(asked),
        "facts_asked": len(rows),
        "confidence_mean": round(sum(row.confidence for row in rows) / len(rows), 4),
        "left_out_by_reason": dict(sorted(reasons.items())),
    }
    return _ranked(inputs, scores, missing, {"confidences": rows}, teacher, more)


def _answers(inputs: Inputs, asked: Sequence[confidence.Asked]) -> dict[tuple[str, str], list[str]]:
    """The base model's answers to each question behind its opening."""
    params, section = inputs.params, inputs.section
    assert isinstance(section, FactTuneMcParams)
    alone(os.environ, "pairs")
    hardware, formatter = detect(os.environ), load_formatter(BASE, params.model)
    decoding = Decoding(
        section.max_new_tokens, section.temperature, section.top_p, samples=section.answers, seed=params.seed
    )
    replies = [each.reply for each in asked if not isinstance(each.reply, Failure)]
    questions = dict.fromkeys((reply.question, reply.opening) for reply in replies)
    prompts = {
        f"{question}\n{opening}": [
            *formatter.prompt(question),
            *(formatter.completion(opening, end=False) if opening.strip() else []),
        ]
        for question, opening in questions
    }
    longest = max(map(len, prompts.values())) + section.max_new_tokens
    settings = [params.model_dump(), hardware.fingerprint(), weights_stamp(BASE)]
    with resumable(CACHE, f"pairs-{inputs.baseline}", settings=[*settings, prompts], inputs=[BASE]) as state:
        how = (formatter, decoding, hardware, longest, os.environ)
        with opened(None, BASE, None, "base", *how) as backend:
            answers = generate(prompts, backend, decoding, Journal(state), heading="ask the base model")
    return {
        (question, opening): [formatter.decode(tokens) for tokens in answers[f"{question}\n{opening}"]]
        for question, opening in questions
    }


def _ranked(
    inputs: Inputs,
    scores: Mapping[str, float],
    missing: int,
    evidence: dict[str, Sequence[Record]],
    teacher: Paid,
    more: Mapping[str, Any] | None = None,
) -> Made:
    """The pairs that scores make."""
    section = inputs.section
    ranked = facttune.rank(
        inputs.baseline, inputs.samples, scores, most=section.max_pairs, seed=inputs.params.seed
    )
    total = sum(map(len, inputs.samples.values()))
    mean = round(sum(scores.values()) / len(scores), 4) if scores else None
    numbers = {"scored": len(scores), "score_mean": mean, **(more or {})}
    return Made(ranked.pairs, ranked.without, missing, total, evidence, teacher, numbers)


def make_kc_sampled(inputs: Inputs) -> Made:
    """The best sample of each question, against itself made worse in each aspect."""
    judges, paid = appointed(inputs)
    verdicts = judges.verify(inputs.examples, as_predictions(inputs.examples, inputs.samples), recall=False)
    best, section, seed = best_samples(inputs.samples, verdicts), inputs.section, inputs.params.seed
    true = [each.text for row in verdicts for each in row.sentences if each.verdict == "correct"]
    replies = inputs.folder / "teacher.jsonl"
    teacher = open_teacher(inputs.params.teacher, Setting(os.environ, CACHE, seed=seed, corpus=true), replies)
    facts = Results.of(extract(best, teacher))
    depends_on = TEACHERS[inputs.params.teacher.backend].depends_on
    how = Perturbation(seed, section.beta_delete, section.revise_share, depends_on)
    counts, settings = Comparison(), Settings(section.style, list(ASPECTS), how)
    pairs = perturb(facts.rows, teacher, settings, counts)
    results = Results.of(itertools.chain(facts.rejected, facts.left_out, pairs))
    teacher.save_replies(replies)
    out = inputs.folder / "pairs.jsonl"
    results.write(out)
    numbers = summarise(results, settings, counts)
    return Made(
        results.rows,
        Counter({"no_sample_without_a_false_fact": len(inputs.samples) - len(best)}),
        sum(bool(row.unscored) for row in verdicts),
        len(verdicts),
        {"verdicts": verdicts},
        paid,
        {"pairs_by_kind": numbers.pop("pairs"), **numbers, "perturbing": teacher.usage()},
        partial(results.check, out, section.max_rejected, f"{inputs.baseline}.max_rejected"),
    )


MAKERS: dict[str, Callable[[Inputs], Made]] = {
    "rlaif": make_rlaif,
    "facttune_fs": make_facttune_fs,
    "facttune_mc": make_facttune_mc,
    "kc_sampled": make_kc_sampled,
}


def main() -> None:
    baseline = sys.argv[1] if len(sys.argv) == 2 else ""
    make = entry(MAKERS, baseline, "baseline")
    params: Any = load(PARAMS, pairs_stage(baseline))
    section, folder = getattr(params, baseline), OUT / baseline
    sampled = ON_REQUEST[baseline].continues
    samples = by_question(read_jsonl(Path(f"data/samples/{sampled}.jsonl"), Sample))
    examples = [example for example in read_jsonl(PREPARED / "train.jsonl", Example) if example.id in samples]
    made = make(Inputs(baseline, params, section, examples, samples, folder))
    pairs = drawn(made.pairs, section.limit, params.seed)
    for name, rows in made.evidence.items():
        write_jsonl(folder / f"{name}.jsonl", rows)
    write_jsonl(folder / "pairs.jsonl", pairs)
    made.teacher.save_replies(folder / "replies.jsonl")
    metrics = {
        "questions": len(examples),
        "samples": sum(map(len, samples.values())),
        "cut_off": sum(sample.truncated for group in samples.values() for sample in group),
        "pairs": len(pairs),
        "pairs_possible": len(made.pairs),
        "questions_without_pair": dict(sorted(made.without.items())),
        "without_verdict": made.missing,
        **made.more,
        **made.teacher.usage(),
    }
    write_json(Path(f"metrics/pairs_{baseline}.json"), metrics)
    # Last: all that is finished is on disk.
    key = "max_unjudged" if baseline == "rlaif" else "max_unscored"
    if made.missing > getattr(section, key) * made.total:
        raise ValueError(
            f"{made.missing} of {made.total} have no verdict, {baseline}.{key} allows "
            f"{getattr(section, key):g} of them; see the reasons in {folder}, run again to ask for these "
            "alone, or raise it"
        )
    made.check()
    print(f"pairs: {len(pairs)} of {baseline}, {made.without.total()} questions give none")


if __name__ == "__main__":
    run(main)
