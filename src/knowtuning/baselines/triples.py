"""The method's first version: knowledge as triples, generated (KG) and then compared in prose (KGKC).

KG is fine-tuning on two rows a question: its answer, and its triples as JSON, which the model is asked for
with the question alone. KGKC is DPO from that adapter, on pairs whose two sides are prose made from triples:
all of them against half of them, against false ones, and against another order.

Inferred: rows and pairs are as a third party built them anew, since the paper describes the final version.
Deviation: false triples are those of the facts that the teacher revises, as in the final version, where that
third party swaps subjects and invents; an order that happens to be their own is never taken for another, the
first triple is never deleted, and two triples make no pair of order.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from knowtuning.core.numbers import same
from knowtuning.core.records import Facts, Pair, Rejected, Rewrite
from knowtuning.knowledge.aspects import ASPECTS, deleted_indices, shuffled_indices
from knowtuning.knowledge.results import ask, make_pair, reject
from knowtuning.teacher.tasks import (
    Failure,
    Outcome,
    Revise,
    Teacher,
    Tell,
    Text,
    Triple,
    TripleList,
    Triples,
)

INSTRUCTION = "Give what answers this question as triples of subject, predicate and object, in JSON."

# What the pairs of a question are worse in, in their order.
WORSE = ("completeness", "factuality", "logicality")


def generation_rows(records: Iterable[Facts], teacher: Teacher) -> Iterator[Rewrite | Rejected]:
    """The row of each record that asks for its triples; the row with its answer is the example itself."""
    work = [(each, _in_triples(each, each.facts)) for each in records]
    for record, _, outcome in ask(teacher, work):
        if isinstance(outcome, Failure):
            yield reject(f"{record.id}-kg", outcome, record)
            continue
        assert isinstance(outcome, TripleList)
        yield Rewrite(
            id=f"{record.id}-kg",
            source=record.id,
            question=f"{INSTRUCTION}\n{record.question}",
            answer=json.dumps(
                {"triplets": [each.model_dump() for each in outcome.triples]}, ensure_ascii=False
            ),
            facts=record.facts,
        )


def triples_in(row: Rewrite) -> list[Triple]:
    """The triples of a row of generation."""
    return [Triple(**each) for each in json.loads(row.answer)["triplets"]]


def _in_triples(record: Facts, facts: Sequence[str]) -> Triples:
    return Triples(id=record.id, question=record.question, facts=tuple(facts))


Side = list[Triple] | Failure


def compare(
    records: Sequence[Facts],
    triples: Mapping[str, Sequence[Triple]],
    teacher: Teacher,
    *,
    beta_delete: float,
    seed: int,
    skipped: Counter[str],
) -> Iterator[Pair | Rejected]:
    """Up to a pair a record and kind of WORSE; triples: by id of the record, each of which has some.

    beta_delete: share (0..1) of the triples that go. skipped: counts the records with too few triples for a
    kind. A task that failed loses its kind alone.
    """
    false = _false_triples(records, triples, teacher)
    plans: list[tuple[Facts, dict[str, Side]]] = []
    for record in records:
        all_of_it = triples[record.id]
        sides: dict[str, Side] = {}
        for kind in WORSE:
            if len(all_of_it) < ASPECTS[kind].least:
                skipped[kind] += 1
            elif kind == "factuality":
                sides[kind] = false[record.id]
            else:
                sides[kind] = _worse(kind, record.id, all_of_it, beta_delete, seed)
        plans.append((record, sides))
    texts = [
        (record, Tell(id=record.id, question=record.question, triples=tuple(side)))
        for record, sides in plans
        for side in (triples[record.id], *sides.values())
        if not isinstance(side, Failure)
    ]
    prose = (outcome for _, _, outcome in ask(teacher, texts))
    for record, sides in plans:
        chosen = next(prose)
        for kind, side in sides.items():
            yield _pair(record, kind, chosen, side if isinstance(side, Failure) else next(prose))
    # Nothing is left, but only asking for more lets the teacher close what it opened.
    assert next(prose, None) is None


def _worse(kind: str, record_id: str, triples: Sequence[Triple], beta: float, seed: int) -> list[Triple]:
    """The triples without some of them, or in another order."""
    alone: list[None] = [None] * len(triples)
    if kind == "completeness":
        deleted = deleted_indices(alone, beta, seed=seed, record_id=record_id)
        return [each for index, each in enumerate(triples) if index not in deleted]
    order = shuffled_indices(alone, seed=seed, record_id=record_id)
    assert order is not None, "triples stand alone, and two or more have another order"
    return [triples[index] for index in order]


def _false_triples(
    records: Sequence[Facts], triples: Mapping[str, Sequence[Triple]], teacher: Teacher
) -> dict[str, Side]:
    """The triples of each record's revised facts; a reason where there are none, or not as many."""
    work = [(each, Revise(id=each.id, question=each.question, facts=tuple(each.facts))) for each in records]
    sides: dict[str, Side] = {}
    again: list[tuple[Facts, Triples]] = []
    for record, _, outcome in ask(teacher, work):
        if isinstance(outcome, Failure):
            sides[record.id] = outcome
        else:
            again.append((record, _in_triples(record, outcome.facts)))  # type: ignore[attr-defined]
    for record, _, outcome in ask(teacher, again):
        if isinstance(outcome, Failure):
            sides[record.id] = outcome
            continue
        assert isinstance(outcome, TripleList)
        made, wanted = list(outcome.triples), len(triples[record.id])
        # Fewer or more would tell the sides apart by their number.
        reason = f"the revised facts have {len(made)} triples, the true ones {wanted}"
        failure = Failure(reason=reason, raw=outcome.model_dump(), expected=True)
        sides[record.id] = made if len(made) == wanted else failure
    return sides


def _pair(record: Facts, kind: str, chosen: Outcome, rejected: Outcome) -> Pair | Rejected:
    """The pair of two texts, or the reason why there is none."""
    for side in (chosen, rejected):
        if isinstance(side, Failure):
            return reject(f"{record.id}-{kind}", side, record, step=kind)
    assert isinstance(chosen, Text)
    assert isinstance(rejected, Text)
    return make_pair(record, kind, chosen.text.strip(), rejected.text.strip(), same)
