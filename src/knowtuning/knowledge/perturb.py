"""Method step 4: preference pairs that differ in one aspect of knowledge (KC; paper, 3.3)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import Any, Literal

from knowtuning.core.records import Facts, Pair, Rejected
from knowtuning.core.text import repeated_share, words
from knowtuning.knowledge.aspects import ASPECTS, Perturbation, join
from knowtuning.knowledge.filling import Candidates, Fill, Others, candidates, filled
from knowtuning.knowledge.original import in_place, layout, separator
from knowtuning.knowledge.results import Results, ask, bar, make_pair, percent, reject
from knowtuning.teacher.tasks import (
    Dependence,
    FactList,
    Failure,
    Outcome,
    Rephrase,
    Revise,
    Task,
    Teacher,
    Text,
    checked,
)

Style = Literal["matched", "original", "paper"]
Revision = Literal["teacher", "borrowed"]
# Texts of few words may be longer by so many words, whatever the share.
_SLACK = 10
_BORROWABLE = 200  # facts of other records that are looked at


@dataclass(frozen=True)
class Settings:
    """What determines the pairs. aspects: names of ASPECTS, in the order of a record's pairs. max_growth: see
    `grown`. fill: what stands for deleted facts, see filling.py. revise: who makes facts false, the
    teacher or Borrowing. offset: of a pair, for each fact that rejected lacks or has false (losses.py)."""

    style: Style
    aspects: Sequence[str]
    perturbation: Perturbation
    max_growth: float = float("inf")
    fill: Fill = "none"
    revise: Revision = "teacher"
    offset: float = 0.0


class Borrowing(Teacher):
    """Revises a fact into the one of another record that shares most words with it: a hard negative.

    Both are true and written alike, so that only what the question asks for tells them apart. Candidates are
    beside the question, see filling.py.
    """

    def __init__(self, records: Sequence[Facts], depends_on: Dependence, seed: int) -> None:
        self._records = {record.id: record for record in records}
        self._others = Others(records, depends_on, seed)
        self._words = {fact: frozenset(words(fact)) for record in records for fact in record.facts}

    def run(self, tasks: Iterable[Task]) -> Iterator[tuple[Task, Outcome]]:
        for task in tasks:
            assert isinstance(task, Revise), f"nothing is borrowed for the task {task.name}"
            yield task, checked(task, partial(self._revised, task), expected=True)

    def _revised(self, task: Revise) -> FactList:
        """Each fact with the closest of the candidates that no other took; the first of those as close."""
        left = list(islice(self._others.beside(self._records[task.id], None), _BORROWABLE))
        revised = []
        for fact in task.facts:
            if not left:
                raise ValueError("found too few facts of other records beside the question")
            closest = max(left, key=partial(self._shared, fact))
            revised.append(closest)
            left.remove(closest)
        return FactList(facts=revised)

    def _shared(self, one: str, other: str) -> float:
        """Words that two facts share, of all that they have (0..1)."""
        first, second = self._words[one], self._words[other]
        return len(first & second) / len(first | second)


@dataclass
class PerturbCounts:
    """Counts of a run, filled while `perturb` runs.

    skipped: records that an aspect cannot make worse, for want of facts or of another order, by aspect.
    joined: records whose facts are no whole sentences of the answer, so that style `original` joins them.
    """

    skipped: Counter[str] = field(default_factory=Counter)
    joined: int = 0


@dataclass(frozen=True)
class _Plan:
    """The pairs to make of one record: the rejected text of each aspect, or why there is none.

    differing: facts of the record that the rejected side of an aspect lacks or has false.
    """

    record: Facts
    rejected: dict[str, str | Failure]
    differing: Counter[str]

    def sources(self, style: Style) -> dict[str, str]:
        """The texts to rephrase: `chosen` and, by aspect, the rejected ones; none where there is none."""
        texts = {aspect: text for aspect, text in self.rejected.items() if isinstance(text, str)}
        if not texts or style == "original":
            return {}
        if style == "paper":
            return {"chosen": self.record.answer}
        return {"chosen": join(self.record.facts), **texts}


def perturb(
    records: Iterable[Facts], teacher: Teacher, settings: Settings, counts: PerturbCounts
) -> Iterator[Pair | Rejected]:
    """Yield up to a pair a record and aspect; a failed task loses its aspect alone.

    Style `paper`: chosen is the rephrased answer, rejected the perturbed facts as they are.
    Deviation: style `matched` rephrases the facts on both sides, so that form tells nothing; in style
    `original` chosen is the answer as it stands and rejected the answer with its facts perturbed in place.
    Deviation: a fact is deleted and moved with those that lean on it, the first is never deleted, what is
    deleted may be filled up, and false facts may be borrowed.

    What aspects ask the teacher comes first, for all records, then the rephrasing: each a stream of its own.
    """
    all_facts = list(records)
    how = settings.perturbation
    spoiler = teacher if settings.revise == "teacher" else Borrowing(all_facts, how.depends_on, how.seed)
    replies = {name: task_replies(all_facts, spoiler, name, how) for name in settings.aspects}
    fill = candidates(settings.fill, all_facts, how.depends_on, how.seed)
    plans = [_plan(record, replies, settings, fill, counts) for record in all_facts]
    work = [
        (plan.record, Rephrase(id=plan.record.id, question=plan.record.question, text=text))
        for plan in plans
        for text in plan.sources(settings.style).values()
    ]
    outcomes = (outcome for _, _, outcome in ask(teacher, work))
    for plan in bar(plans, "rephrase", len(plans), teacher):
        rephrased = {key: next(outcomes) for key in plan.sources(settings.style)}
        yield from _pairs(plan, rephrased, settings)
    # Nothing is left, but only asking for more lets the teacher close what it opened.
    assert next(outcomes, None) is None


def task_replies(
    records: Sequence[Facts], teacher: Teacher, name: str, how: Perturbation
) -> dict[str, Outcome]:
    """What the teacher says to the task of an aspect, by record id; nothing where it has no task."""
    aspect = ASPECTS[name]
    if aspect.task is None:
        return {}
    work = [(record, aspect.task(record, how)) for record in records if len(record.facts) >= aspect.least]
    rows = bar(ask(teacher, work), name, len(work), teacher)
    return {record.id: outcome for record, _, outcome in rows}


def _plan(
    record: Facts,
    replies: Mapping[str, Mapping[str, Outcome]],
    settings: Settings,
    fill: Candidates,
    counts: PerturbCounts,
) -> _Plan:
    """The rejected text of a record for each aspect that is on and possible."""
    shape = layout(record.answer, record.facts) if settings.style == "original" else None
    counts.joined += settings.style == "original" and shape is None
    # What is deleted and moved is what the answer says, with its pronouns.
    worded = record if shape is None else record.model_copy(update={"facts": shape.pieces})
    rejected: dict[str, str | Failure] = {}
    differing: Counter[str] = Counter()
    for name in settings.aspects:
        aspect, reply = ASPECTS[name], replies[name].get(record.id)
        if len(record.facts) < aspect.least:
            counts.skipped[name] += 1
            continue
        slots = reply if isinstance(reply, Failure) else aspect.reject(worded, settings.perturbation, reply)
        if isinstance(slots, Failure):
            rejected[name] = slots
            continue
        if slots is None:
            counts.skipped[name] += 1
            continue
        if aspect.task is not None and shape is not None and len(slots) == len(shape.pieces):
            # What the teacher made of a fact, in the words of the answer.
            slots = [
                slot if slot is None or slot == piece else in_place(fact, piece, slot)
                for fact, piece, slot in zip(record.facts, shape.pieces, slots, strict=True)
            ]
        differing[name] = sum(fact not in slots for fact in worded.facts)
        if None in slots:
            slots = filled(slots, worded.facts, fill(worded, slots))
        if shape is not None and len(slots) == len(record.facts):
            rejected[name] = shape.text(slots)
        else:
            between = separator(record.answer) if settings.style == "original" else " "
            rejected[name] = join(slots, between)
    return _Plan(record, rejected, differing)


def grown(chosen: str, answer: str, max_growth: float) -> str | None:
    """Why a chosen text is more than its answer, in length or in repetition; None where it is not.

    max_growth: most words it may have, as a multiple of the answer's.
    """
    length, limit = len(words(chosen)), len(words(answer))
    if length > max(max_growth * limit, limit + _SLACK):
        return f"chosen has {length} words and the answer {limit}; perturb.max_growth is {max_growth:g}"
    before, after = repeated_share(answer), repeated_share(chosen)
    if after > before + 0.05:
        return f"chosen repeats {percent(after)} of its runs of four words, the answer {percent(before)}"
    return None


def _pairs(plan: _Plan, rephrased: Mapping[str, Outcome], settings: Settings) -> Iterator[Pair | Rejected]:
    """The pair of each planned aspect, or the reason why there is none.

    Rejected where chosen is more than its answer, left out where the rejected text is no worse.
    """
    record = plan.record
    for aspect, text in plan.rejected.items():
        pair_id = f"{record.id}-{aspect}"
        if isinstance(text, Failure):
            yield reject(pair_id, text, record, step=aspect)
            continue
        chosen = rephrased.get("chosen", Text(text=record.answer))
        rejected = rephrased.get(aspect, Text(text=text))
        if isinstance(chosen, Failure):
            yield reject(pair_id, chosen, record, step="rephrasing the chosen text")
            continue
        if isinstance(rejected, Failure):
            yield reject(pair_id, rejected, record, step="rephrasing the rejected text")
            continue
        assert isinstance(chosen, Text)
        assert isinstance(rejected, Text)
        texts = chosen.text.strip(), rejected.text.strip()
        complaint = grown(texts[0], record.answer, settings.max_growth)
        if complaint:
            yield reject(pair_id, Failure(reason=complaint, raw=texts[0]), record)
            continue
        offset = round(settings.offset * plan.differing[aspect], 4)
        yield make_pair(record, aspect, *texts, ASPECTS[aspect].no_worse, offset=offset)


def summarise(results: Results[Pair], settings: Settings, counts: PerturbCounts) -> dict[str, Any]:
    """Counts for metrics/perturb.json: pairs and skipped records by aspect; see PerturbCounts."""
    pairs = Counter(row.aspect for row in results.rows)
    joined = {"joined": counts.joined} if settings.style == "original" else {}
    return {
        "pairs": {"total": len(results.rows), **{name: pairs[name] for name in settings.aspects}},
        "skipped": {name: counts.skipped[name] for name in settings.aspects},
        **joined,
        **results.counts(),
    }
