"""Method step 4: preference pairs that differ in one aspect of knowledge (KC; paper, 3.3)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from knowtuning.core.records import Facts, Pair, Rejected
from knowtuning.core.text import normal_form
from knowtuning.knowledge.aspects import ASPECTS, Perturbation, join
from knowtuning.knowledge.checks import grown
from knowtuning.knowledge.results import Progress, Results, ask, quietly, reject
from knowtuning.teacher.tasks import Failure, Outcome, Rephrase, Teacher, Text

Style = Literal["matched", "paper"]


@dataclass(frozen=True)
class Settings:
    """What determines the pairs. aspects: names of ASPECTS, in the order of a record's pairs. max_growth: see
    checks.grown."""

    style: Style
    aspects: Sequence[str]
    perturbation: Perturbation
    max_growth: float = float("inf")


@dataclass
class Comparison:
    """Counts of a run, filled while `perturb` runs. skipped: records with too few facts, by aspect."""

    skipped: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class _Plan:
    """The pairs to make of one record: the rejected facts of each aspect, or why there are none."""

    record: Facts
    rejected: dict[str, list[str] | Failure]

    def sources(self, style: Style) -> dict[str, str]:
        """The texts to rephrase: `chosen` and, by aspect, the rejected ones; none where there is none."""
        texts: dict[str, str] = {}
        for aspect, facts in self.rejected.items():
            if isinstance(facts, list):
                texts[aspect] = join(facts)
        if not texts:
            return {}
        if style == "paper":
            return {"chosen": self.record.answer}
        return {"chosen": join(self.record.facts), **texts}


def perturb(
    records: Iterable[Facts],
    teacher: Teacher,
    settings: Settings,
    counts: Comparison,
    progress: Progress = quietly,
) -> Iterator[Pair | Rejected]:
    """Yield up to a pair a record and aspect; a failed task loses its aspect alone.

    Style `paper`: chosen is the rephrased answer, rejected the perturbed facts as they are.
    Deviation: style `matched` rephrases the facts on both sides, so that form tells nothing.

    What aspects ask the teacher comes first, for all records, then the rephrasing: each a stream of its own.
    """
    everything = list(records)
    how = settings.perturbation
    replies = {name: _replies(everything, teacher, name, how, progress) for name in settings.aspects}
    plans = [_plan(record, replies, settings, counts) for record in everything]
    work = [
        (plan.record, Rephrase(id=plan.record.id, question=plan.record.question, text=text))
        for plan in plans
        for text in plan.sources(settings.style).values()
    ]
    outcomes = (outcome for _, _, outcome in ask(teacher, work))
    for plan in progress(plans, "rephrase"):
        said = {key: next(outcomes) for key in plan.sources(settings.style)}
        yield from _pairs(plan, said, settings)
    # Nothing is left, but only asking for more lets the teacher close what it opened.
    assert next(outcomes, None) is None


def _replies(
    records: Sequence[Facts], teacher: Teacher, name: str, how: Perturbation, progress: Progress
) -> dict[str, Outcome]:
    """What the teacher says to the task of an aspect, by record id; nothing where it has no task."""
    aspect = ASPECTS[name]
    if aspect.task is None:
        return {}
    asked = [record for record in records if len(record.facts) >= aspect.least]
    outcomes = ask(teacher, [(record, aspect.task(record, how)) for record in asked])
    rows = zip(progress(asked, name), outcomes, strict=True)
    return {record.id: outcome for record, (_, _, outcome) in rows}


def _plan(
    record: Facts, replies: Mapping[str, Mapping[str, Outcome]], settings: Settings, counts: Comparison
) -> _Plan:
    """The rejected facts of a record for each aspect that is on and possible."""
    rejected: dict[str, list[str] | Failure] = {}
    for name in settings.aspects:
        reply = replies[name].get(record.id)
        if len(record.facts) < ASPECTS[name].least:
            counts.skipped[name] += 1
        elif isinstance(reply, Failure):
            rejected[name] = reply
        else:
            rejected[name] = list(ASPECTS[name].reject(record, settings.perturbation, reply))
    return _Plan(record, rejected)


def _pairs(plan: _Plan, said: Mapping[str, Outcome], settings: Settings) -> Iterator[Pair | Rejected]:
    """The pair of each planned aspect, or the reason why there is none."""
    for aspect, facts in plan.rejected.items():
        pair_id = f"{plan.record.id}-{aspect}"
        if isinstance(facts, Failure):
            yield reject(pair_id, _named(aspect, facts), plan.record)
            continue
        chosen = said["chosen"]
        rejected = said.get(aspect, Text(text=join(facts)))
        if isinstance(chosen, Failure):
            yield reject(pair_id, _named("rephrasing the chosen text", chosen), plan.record)
        elif isinstance(rejected, Failure):
            yield reject(pair_id, _named("rephrasing the rejected text", rejected), plan.record)
        else:
            assert isinstance(chosen, Text)
            assert isinstance(rejected, Text)
            texts = chosen.text.strip(), rejected.text.strip()
            yield _pair(plan.record, aspect, *texts, settings.max_growth)


def _pair(record: Facts, aspect: str, chosen: str, rejected: str, max_growth: float) -> Pair | Rejected:
    """The preference pair of two texts; rejected where they are equal, or chosen is more than its answer."""
    pair_id = f"{record.id}-{aspect}"
    complaint = grown(chosen, record.answer, max_growth)
    if complaint:
        return reject(pair_id, Failure(reason=complaint, raw=chosen), record)
    if normal_form(chosen) == normal_form(rejected):
        return reject(pair_id, Failure(reason="chosen and rejected are equal", raw=rejected), record)
    return Pair(
        id=pair_id,
        source=record.id,
        aspect=aspect,
        question=record.question,
        chosen=chosen,
        rejected=rejected,
    )


def _named(step: str, failure: Failure) -> Failure:
    """A failure whose reason says which step of the pair it belongs to."""
    return Failure(reason=f"{step}: {failure.reason}", raw=failure.raw, expected=failure.expected)


def summarise(results: Results[Pair], settings: Settings, counts: Comparison) -> dict[str, Any]:
    """Counts for metrics/perturb.json: pairs, and records skipped for want of facts, by aspect."""
    pairs = Counter(row.aspect for row in results.rows)
    return {
        "pairs": {"total": len(results.rows), **{name: pairs[name] for name in settings.aspects}},
        "skipped": {name: counts.skipped[name] for name in settings.aspects},
        **results.counts(),
    }
