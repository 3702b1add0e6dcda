"""Method step 4: preference pairs that differ in one aspect of knowledge (KC; paper, 3.3)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from knowtuning.core.records import ASPECTS, Aspect, Atoms, Preference, Rejected
from knowtuning.core.storage import record_rng
from knowtuning.knowledge.results import Progress, Results, ask, quietly, reject
from knowtuning.knowledge.shares import floor_share
from knowtuning.teacher.tasks import Facts, Failure, Outcome, Rephrase, Revise, Teacher, Text, normal_form

Style = Literal["matched", "paper"]
Side = Aspect | Literal["chosen"]


def delete_facts(facts: Sequence[str], beta: float, *, seed: int, record_id: str) -> list[str]:
    """`facts` without floor(beta * |K|) of them, at least one and at most |K| - 1; order kept.

    Needs two facts or more. Which ones go depends on the seed, the record's id and |K| alone.
    """
    assert len(facts) >= 2, f"{record_id}: deletion needs two facts, found {len(facts)}"
    count = min(max(1, floor_share(beta, len(facts))), len(facts) - 1)
    gone = set(record_rng(seed, "delete", record_id).sample(range(len(facts)), count))
    return [fact for index, fact in enumerate(facts) if index not in gone]


def shuffle_facts(facts: Sequence[str], *, seed: int, record_id: str) -> list[str]:
    """`facts` in a random order other than their own, every other order being equally likely.

    Needs two facts or more.
    """
    assert len(facts) >= 2, f"{record_id}: shuffling needs two facts, found {len(facts)}"
    rng = record_rng(seed, "shuffle", record_id)
    order = list(range(len(facts)))
    while order == sorted(order):
        rng.shuffle(order)
    return [facts[index] for index in order]


def join(facts: Iterable[str]) -> str:
    """Facts as one text, in their order (the concatenation of the paper)."""
    return " ".join(fact.strip() for fact in facts)


@dataclass(frozen=True)
class Settings:
    """What determines the pairs. beta_delete: share of facts that completeness deletes (0..1)."""

    style: Style
    aspects: frozenset[Aspect]
    beta_delete: float
    seed: int


@dataclass
class Comparison:
    """Counts of a run, filled while `perturb` runs. skipped: records with too few facts, by aspect."""

    skipped: Counter[Aspect] = field(default_factory=Counter)


@dataclass(frozen=True)
class _Plan:
    """The pairs to make of one record: the rejected facts of each aspect, or why there are none."""

    record: Atoms
    rejected: dict[Aspect, list[str] | Failure]

    def sources(self, style: Style) -> dict[Side, str]:
        """The texts to rephrase; none where no aspect has facts to reject."""
        texts: dict[Side, str] = {}
        for aspect, facts in self.rejected.items():
            if isinstance(facts, list):
                texts[aspect] = join(facts)
        if not texts:
            return {}
        if style == "paper":
            return {"chosen": self.record.answer}
        return {"chosen": join(self.record.facts), **texts}


def perturb(
    records: Iterable[Atoms],
    teacher: Teacher,
    settings: Settings,
    counts: Comparison,
    progress: Progress = quietly,
) -> Iterator[Preference | Rejected]:
    """Yield up to three pairs a record, in the order of ASPECTS; a failed task loses its aspect alone.

    Style `paper`: chosen is the rephrased answer, rejected the perturbed facts as they are.
    Deviation: style `matched` rephrases the facts on both sides, so that form tells nothing.

    Revisions come first, for all records, then the rephrasing: each is one stream to the teacher.
    """
    everything = list(records)
    revisions = _revise(everything, teacher, settings)
    plans = [
        _plan(record, revised, settings, counts)
        for record, revised in zip(progress(everything, "revise"), revisions, strict=True)
    ]
    work = [
        (plan.record, Rephrase(id=plan.record.id, question=plan.record.question, text=text))
        for plan in plans
        for text in plan.sources(settings.style).values()
    ]
    outcomes = (outcome for _, _, outcome in ask(teacher, work))
    for plan in progress(plans, "rephrase"):
        said = {key: next(outcomes) for key in plan.sources(settings.style)}
        yield from _pairs(plan, said)
    # Nothing is left, but only asking for more lets the teacher close what it opened.
    assert next(outcomes, None) is None


def _revise(records: list[Atoms], teacher: Teacher, settings: Settings) -> Iterator[Outcome | None]:
    """The outcome of revising each record's facts; None for each where factuality is off."""
    if "factuality" not in settings.aspects:
        return iter([None] * len(records))
    work = ((row, Revise(id=row.id, question=row.question, facts=tuple(row.facts))) for row in records)
    return (outcome for _, _, outcome in ask(teacher, work))


def _plan(record: Atoms, revised: Outcome | None, settings: Settings, counts: Comparison) -> _Plan:
    """The rejected facts of a record for each aspect that is on and possible."""
    rejected: dict[Aspect, list[str] | Failure] = {}
    for aspect in ASPECTS:
        if aspect not in settings.aspects:
            continue
        if aspect == "factuality":
            assert isinstance(revised, Facts | Failure)
            rejected[aspect] = revised.facts if isinstance(revised, Facts) else revised
        elif len(record.facts) < 2:
            counts.skipped[aspect] += 1
        elif aspect == "completeness":
            rejected[aspect] = delete_facts(
                record.facts, settings.beta_delete, seed=settings.seed, record_id=record.id
            )
        else:
            rejected[aspect] = shuffle_facts(record.facts, seed=settings.seed, record_id=record.id)
    return _Plan(record, rejected)


def _pairs(plan: _Plan, said: dict[Side, Outcome]) -> Iterator[Preference | Rejected]:
    """The pair of each planned aspect, or the reason why there is none."""
    for aspect, facts in plan.rejected.items():
        pair_id = f"{plan.record.id}-{aspect}"
        if isinstance(facts, Failure):
            yield reject(pair_id, _named("revising", facts), plan.record)
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
            yield _pair(plan.record, aspect, chosen.text.strip(), rejected.text.strip())


def _pair(record: Atoms, aspect: Aspect, chosen: str, rejected: str) -> Preference | Rejected:
    """The preference pair of two texts; rejected where they say the same."""
    pair_id = f"{record.id}-{aspect}"
    if normal_form(chosen) == normal_form(rejected):
        return reject(pair_id, Failure(reason="chosen and rejected are equal", raw=rejected), record)
    return Preference(
        id=pair_id,
        source=record.id,
        aspect=aspect,
        question=record.question,
        chosen=chosen,
        rejected=rejected,
    )


def _named(step: str, failure: Failure) -> Failure:
    """A failure whose reason says which step of the pair it belongs to."""
    return Failure(reason=f"{step}: {failure.reason}", raw=failure.raw)


def summarise(results: Results[Preference], counts: Comparison) -> dict[str, Any]:
    """Counts for metrics/perturb.json: pairs, and records skipped for want of facts, by aspect."""
    pairs = Counter(row.aspect for row in results.rows)
    return {
        "pairs": {"total": len(results.rows), **{aspect: pairs[aspect] for aspect in ASPECTS}},
        "skipped": {aspect: counts.skipped[aspect] for aspect in ASPECTS if aspect != "factuality"},
        "rejected": len(results.rejected),
        "rejected_by_reason": results.rejection_counts(),
    }
