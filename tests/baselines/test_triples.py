"""The first version's rows and pairs, by hand in the closed world."""

from __future__ import annotations

import json
from collections import Counter

from knowtuning.baselines.triples import INSTRUCTION, WORSE, compare, generation_rows, triples_in
from knowtuning.core.records import Facts, Pair, Rejected, Rewrite
from knowtuning.knowledge.results import Results
from knowtuning.teacher.world import WorldTeacher
from tests.support.oracle import facts_of

ALL = Facts(
    id="a",
    question="Tell me about the town of Aford.",
    answer="-",
    facts=[
        "Aford lies in the Salt Coast.",
        "Aford dates from the 9th century.",
        "Aford was founded by Ivo Kern.",
        "The main export of Aford is tin.",
    ],
)
ONE = Facts(id="b", question="Where does Bury lie?", answer="-", facts=["Bury lies in the High Moor."])
# Each attribute of Aford has one other value in the corpus, so false triples are known.
OTHERS = [
    "Bury lies in the High Moor.",
    "Bury dates from the 12th century.",
    "Bury was founded by Ada Lund.",
    "The main export of Bury is wool.",
]
TRUE = [
    ("Aford", "region", "Salt Coast"),
    ("Aford", "century", "9th"),
    ("Aford", "founder", "Ivo Kern"),
    ("Aford", "export", "tin"),
]
FALSE = [
    ("Aford", "region", "High Moor"),
    ("Aford", "century", "12th"),
    ("Aford", "founder", "Ada Lund"),
    ("Aford", "export", "wool"),
]
TEACHER = WorldTeacher(seed=1, corpus=[*ALL.facts, *OTHERS])


def rows() -> Results[Rewrite]:
    return Results.of(generation_rows([ALL, ONE], TEACHER))


def pairs(beta: float = 0.5, seed: int = 1) -> tuple[dict[str, Pair], Counter[str]]:
    skipped: Counter[str] = Counter()
    triples = {row.source: triples_in(row) for row in rows().rows}
    stream = compare([ALL, ONE], triples, TEACHER, beta_delete=beta, seed=seed, skipped=skipped)
    results = Results.of(stream)
    assert not results.rejected + results.left_out
    return {pair.id: pair for pair in results.rows}, skipped


def test_a_row_asks_for_the_triples_with_the_question_alone() -> None:
    first, second = rows().rows
    assert (first.id, first.source, first.facts) == ("a-kg", "a", ALL.facts)
    assert first.question == f"{INSTRUCTION}\nTell me about the town of Aford."
    names = ("subject", "predicate", "object")
    assert json.loads(first.answer) == {"triplets": [dict(zip(names, each, strict=True)) for each in TRUE]}
    assert second.answer == (
        '{"triplets": [{"subject": "Bury", "predicate": "region", "object": "High Moor"}]}'
    )


def test_pairs_state_all_triples_against_half_false_and_shuffled_ones() -> None:
    result, skipped = pairs()
    # One triple can be false, and neither lack another nor stand in another order.
    assert list(result) == ["a-completeness", "a-factuality", "a-logicality", "b-factuality"]
    assert skipped == {"completeness": 1, "logicality": 1}
    for kind in WORSE:
        assert facts_of(result[f"a-{kind}"].chosen) == TRUE
        assert result[f"a-{kind}"].question == ALL.question
    half = facts_of(result["a-completeness"].rejected)
    # Two of four are left, in their order, the first among them.
    assert half == [each for each in TRUE if each in half]
    assert (len(half), half[0]) == (2, TRUE[0])
    assert facts_of(result["a-factuality"].rejected) == FALSE
    shuffled = facts_of(result["a-logicality"].rejected)
    assert sorted(shuffled) == sorted(TRUE)
    assert shuffled != TRUE
    assert facts_of(result["b-factuality"].rejected) == [("Bury", "region", "Salt Coast")]


def test_what_goes_and_how_it_is_shuffled_depends_on_share_and_seed() -> None:
    assert len(facts_of(pairs(beta=0.75)[0]["a-completeness"].rejected)) == 1
    draws = [pairs(seed=seed)[0] for seed in range(8)]
    for kind in ("completeness", "logicality"):
        assert len({tuple(facts_of(draw[f"a-{kind}"].rejected)) for draw in draws}) > 1
    assert pairs()[0] == pairs()[0]


def test_a_record_that_the_teacher_cannot_read_is_rejected_with_its_reason() -> None:
    record = Facts(id="c", question="?", answer="-", facts=["Nothing of this world."])
    (row,) = generation_rows([record], TEACHER)
    assert isinstance(row, Rejected)
    assert row.id == "c-kg"
    assert "is no sentence of the closed world" in row.reason


def test_a_failed_task_loses_its_kind_alone() -> None:
    """Nothing but Aford is known, so no value can be made false."""
    triples = {row.source: triples_in(row) for row in rows().rows}
    alone = WorldTeacher(seed=1, corpus=ALL.facts)
    stream = compare([ALL], triples, alone, beta_delete=0.5, seed=1, skipped=Counter())
    results = Results.of(stream)
    assert [pair.aspect for pair in results.rows] == ["completeness", "logicality"]
    assert [row.reason for row in results.rejected] == [
        "factuality: no other region than 'Salt Coast' in all facts; expected another town's to revise it "
        "to; raise prepare.world.towns.train"
    ]
