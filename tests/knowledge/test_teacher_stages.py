"""extract, rewrite and perturb against a scripted teacher."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from knowtuning.core.records import Example, Facts, Pair, Rejected, read_jsonl
from knowtuning.knowledge.aspects import ASPECTS, Perturbation
from knowtuning.knowledge.extract import extract
from knowtuning.knowledge.extract import summarise as summarise_extract
from knowtuning.knowledge.perturb import PerturbCounts, Settings, perturb
from knowtuning.knowledge.perturb import summarise as summarise_perturb
from knowtuning.knowledge.results import Results
from knowtuning.knowledge.rewrite import Augmentation, rewrite
from knowtuning.teacher.tasks import FactList, Failure, Outcome, QuestionAnswer, Rephrase, Revise, Task
from tests.support.records import scored_facts
from tests.support.scripted_teacher import ScriptedTeacher, reply_to

THREE = Facts(id="q3", question="Q3?", answer="A. B. C.", facts=["A.", "B.", "C."])
TWO = Facts(id="q2", question="Q2?", answer="D. E.", facts=["D.", "E."])
ONE = Facts(id="q1", question="Q1?", answer="F.", facts=["F."])


def settings(style="matched", aspects=ASPECTS) -> Settings:
    return Settings(style, list(aspects), Perturbation(seed=1, beta_delete=0.5))


def pairs(records, teacher=None, chosen_settings=None) -> dict[str, Pair | Rejected]:
    rows = perturb(records, teacher or ScriptedTeacher(), chosen_settings or settings(), PerturbCounts())
    return {row.id: row for row in rows}


def test_extract_keeps_the_order_and_says_which_answer_failed() -> None:
    examples = [Example(id=name, question="Q?", answer="A. B.") for name in ("b", "a")]
    teacher = ScriptedTeacher(fails=lambda task: task.id == "a")
    results = Results.of(extract(examples, teacher))
    assert results.rows == [Facts(id="b", question="Q?", answer="A. B.", facts=["A.", "B."])]
    assert results.rejected[0].id == "a"
    assert results.rejected[0].raw == {"record": examples[1].model_dump(), "reply": "?"}
    assert summarise_extract(results) == {
        "questions": 1,
        "facts": 2,
        "facts_per_answer": 2.0,
        "most_facts": 2,
        "single": 0,
        "words_covered": 100.0,
        "words_foreign": 0.0,
        "rejected": 1,
        "rejected_by_reason": {"found no reply …": 1},
        "left_out": 0,
        "left_out_by_reason": {},
    }


def test_finished_rows_are_on_disk_when_too_many_were_rejected(tmp_path: Path) -> None:
    examples = [Example(id=name, question="Q?", answer="A.") for name in ("a", "b")]
    results = Results.of(extract(examples, ScriptedTeacher(fails=lambda task: task.id == "a")))
    out = tmp_path / "facts.jsonl"
    results.write(out)
    with pytest.raises(ValueError, match=r"1 of 2 rows were rejected, extract\.max_rejected allows 0\.02"):
        results.check(out, 0.02, "extract.max_rejected")
    assert out.read_text().count("\n") == (tmp_path / "facts.rejected.jsonl").read_text().count("\n") == 1


def test_rows_left_out_are_kept_with_their_reason_and_do_not_count_as_rejected(tmp_path: Path) -> None:
    def reply(task: Task) -> Outcome:
        return Failure(reason="no template", expected=True) if task.id == "b" else reply_to(task)

    examples = [Example(id=name, question="Q?", answer="A.") for name in ("a", "b")]
    results = Results.of(extract(examples, ScriptedTeacher(reply)))
    out = tmp_path / "facts.jsonl"
    results.write(out)
    results.check(out, 0.0, "extract.max_rejected")
    [row] = read_jsonl(tmp_path / "facts.rejected.jsonl", Rejected)
    assert (row.id, row.reason, row.left_out) == ("b", "no template", True)
    counts = results.counts()
    assert (counts["rejected"], counts["left_out"], counts["left_out_by_reason"]) == (
        0,
        1,
        {"no template": 1},
    )
    nothing = Results.of(extract(examples[1:], ScriptedTeacher(reply)))
    with pytest.raises(ValueError, match=r"all 1 rows were left out, none .* no template; set a to 0$"):
        nothing.check(out, 0.0, "extract.max_rejected", way="set a to 0")


def test_a_rewrite_that_does_not_state_its_facts_is_rejected_with_the_reply() -> None:
    teacher = ScriptedTeacher(lambda task: QuestionAnswer(question="What?", answer="Salt is dear."))
    record = scored_facts("q", [2.0], texts=["Aru trades salt."])
    (row,) = rewrite([record], teacher, alpha=1.0, counts=Augmentation(), min_stated=0.4)
    # Only "salt" of three content words.
    assert row.id == "q-ka"
    assert row.reason.startswith("the answer has 33 % of the content words of its facts")
    assert row.raw["reply"] == {"question": "What?", "answer": "Salt is dear."}


def test_rewrite_asks_for_the_difficult_facts_in_answer_order() -> None:
    record = scored_facts("q", [2.0, 9.0, 5.0], texts=["A.", "B.", "C."])
    counts = Augmentation()
    # ceil(0.5 * 3) = 2 facts: B (9) and C (5).
    rows = list(rewrite([record], ScriptedTeacher(), alpha=0.5, counts=counts))
    assert [row.model_dump() for row in rows] == [
        {"id": "q-ka", "source": "q", "question": "More on: Q?", "answer": "B. C.", "facts": ["B.", "C."]}
    ]
    assert (counts.asked, counts.difficult, counts.unchanged) == (1, 2, [])


def test_alpha_zero_makes_nothing_and_asks_nothing() -> None:
    teacher = ScriptedTeacher()
    assert list(rewrite([scored_facts("q", [2.0])], teacher, alpha=0, counts=Augmentation())) == []
    assert teacher.tasks == []


def test_a_rewrite_that_repeats_its_example_is_counted_not_trained_on() -> None:
    same = QuestionAnswer(question="q? ", answer="a")  # but for case, space and full stop
    new = QuestionAnswer(question="Q?", answer="A, as is known.")
    records = [scored_facts(name, [2.0], texts=["A."]) for name in ("same", "new")]
    parrot, counts = ScriptedTeacher(lambda task: {"same": same, "new": new}[task.id]), Augmentation()
    rows = list(rewrite(records, parrot, alpha=1.0, counts=counts))
    assert [row.id for row in rows] == ["new-ka"]
    assert counts.unchanged == ["same"]


def test_matched_pairs_are_rephrased_facts_on_both_sides() -> None:
    result = pairs([TWO])
    # Of two facts the first stays and floor(0.5 * 2) = 1 goes.
    assert result["q2-completeness"] == Pair(
        id="q2-completeness",
        source="q2",
        aspect="completeness",
        question="Q2?",
        chosen="D. E.",
        rejected="D.",
    )
    assert result["q2-factuality"].rejected == "NOT SO: D. NOT SO: E."
    assert {row.chosen for row in result.values()} == {"D. E."}


def test_a_share_of_the_facts_is_revised_and_the_others_stay() -> None:
    for count, share, revised in ((4, 0.5, 2), (3, 0.5, 2), (3, 0.01, 1), (1, 0.5, 1), (3, 1.0, 3)):
        facts = [f"{letter}." for letter in "ABCD"[:count]]
        record = Facts(id="q", question="Q?", answer=" ".join(facts), facts=facts)
        teacher = ScriptedTeacher()
        how = Settings("paper", ["factuality"], Perturbation(seed=1, beta_delete=0.5, revise_share=share))
        result = pairs([record], teacher, how)["q-factuality"]
        # ceil(share * count) of them, and the teacher is asked for these alone.
        asked = next(list(task.facts) for task in teacher.tasks if isinstance(task, Revise))
        assert len(asked) == revised
        assert result.rejected == " ".join(f"Not so: {fact}" if fact in asked else fact for fact in facts)


def test_paper_pairs_set_the_rephrased_answer_against_bare_facts() -> None:
    record = Facts(id="q", question="Q?", answer="Both d and e.", facts=["d.", "e."])
    teacher = ScriptedTeacher()
    result = pairs([record], teacher, settings("paper"))
    assert {row.chosen for row in result.values()} == {"BOTH D AND E."}
    assert result["q-completeness"].rejected == "d."
    assert result["q-factuality"].rejected == "Not so: d. Not so: e."
    assert sum(isinstance(task, Rephrase) for task in teacher.tasks) == 1


def test_both_sides_are_rephrased_under_one_task_id() -> None:
    teacher = ScriptedTeacher()
    pairs([THREE], teacher)
    rephrased = [task for task in teacher.tasks if isinstance(task, Rephrase)]
    assert [task.id for task in rephrased] == ["q3"] * 4
    assert rephrased[0].text == "A. B. C."


def test_single_facts_skip_deletion_and_shuffling_and_are_counted() -> None:
    counts = PerturbCounts()
    rows = Results.of(perturb([ONE, TWO], ScriptedTeacher(), settings(), counts))
    assert [row.id for row in rows.rows] == [
        "q1-factuality", "q2-completeness", "q2-factuality"
    ]  # fmt: skip
    assert summarise_perturb(rows, settings(), counts) == {
        "pairs": {"total": 3, "completeness": 1, "factuality": 2, "logicality": 0},
        "skipped": {"completeness": 1, "factuality": 0, "logicality": 2},
        "rejected": 0,
        "rejected_by_reason": {},
        "left_out": 0,
        "left_out_by_reason": {},
    }


@pytest.mark.parametrize("style", ["matched", "paper"])
@pytest.mark.parametrize("aspect", ASPECTS)
def test_an_aspect_does_not_depend_on_the_other_switches(aspect, style) -> None:
    everything = pairs([ONE, TWO, THREE], chosen_settings=settings(style))
    alone = pairs([ONE, TWO, THREE], chosen_settings=settings(style, [aspect]))
    assert alone == {key: row for key, row in everything.items() if key.endswith(aspect)}


@pytest.mark.parametrize("style", ["matched", "paper"])
def test_another_record_changes_no_pair(style) -> None:
    fewer = pairs([THREE], chosen_settings=settings(style))
    more = pairs([ONE, THREE, TWO], chosen_settings=settings(style))
    assert fewer.items() <= more.items()


def test_only_enabled_aspects_cost_calls() -> None:
    def calls(records, aspects, style="matched") -> int:
        teacher = ScriptedTeacher()
        pairs(records, teacher, settings(style, aspects))
        return len(teacher.tasks)

    assert calls([THREE], []) == 0
    assert calls([ONE], ["completeness", "logicality"]) == 0
    assert calls([THREE], ["logicality"]) == 2  # chosen, rejected
    assert calls([THREE], ["factuality"]) == 3  # and the revision
    assert calls([THREE], ASPECTS) == 5  # one chosen for all three
    assert calls([THREE], ASPECTS, "paper") == 2  # the revision and the answer


def test_a_failed_task_loses_its_aspect_alone() -> None:
    def without(fails: Callable[[Task], bool]) -> dict[str, str]:
        """Which pairs there are not, and why."""
        rows = pairs([TWO, THREE], ScriptedTeacher(fails=fails))
        return {key: row.reason for key, row in rows.items() if isinstance(row, Rejected)}

    revision = without(lambda task: isinstance(task, Revise) and task.id == "q2")
    assert revision == {"q2-factuality": "factuality: found no reply 7"}
    text = pairs([THREE])["q3-logicality"].rejected
    rejected = without(lambda task: isinstance(task, Rephrase) and task.text == text)
    assert rejected == {"q3-logicality": "rephrasing the rejected text: found no reply 7"}
    reason = "rephrasing the chosen text: found no reply 7"
    chosen = without(lambda task: isinstance(task, Rephrase) and task.text == "D. E.")
    assert chosen == dict.fromkeys(("q2-completeness", "q2-factuality"), reason)


def test_sides_that_are_no_worse_are_left_out_with_the_reason() -> None:
    # In the paper's style the answer may already be the facts in another order.
    order = pairs([THREE], chosen_settings=settings("paper", ["logicality"]))["q3-logicality"].rejected
    record = THREE.model_copy(update={"answer": order.replace(".", ";")})
    row = pairs([record], chosen_settings=settings("paper", ["logicality"]))["q3-logicality"]
    assert (row.reason, row.left_out) == (
        "logicality: the rejected text is no worse than the chosen one", True
    )  # fmt: skip


LISTED = Facts(
    id="said",
    question="What is Aru?",
    answer="In short:\n- Aru is a port.\n- It was founded in 1204.\n- Salt comes from it.\n- Nobody rows.",
    facts=["Aru is a port.", "Aru was founded in 1204.", "Salt comes from it.", "Nobody rows."],
)


def test_the_original_answer_is_set_against_itself_with_its_facts_changed_in_place() -> None:
    def leans(facts):
        return [number - 1 if fact.startswith("It ") else None for number, fact in enumerate(facts)]

    def revised(task: Revise) -> FactList:
        return FactList(facts=[fact.replace("1204", "1304") for fact in task.facts])

    how = Settings("original", list(ASPECTS), Perturbation(1, 0.5, depends_on=leans))
    teacher = ScriptedTeacher(revised)
    result = pairs([LISTED], teacher, how)
    assert [type(task) for task in teacher.tasks] == [Revise]
    assert {row.chosen for row in result.values()} == {LISTED.answer}
    # The pronoun of the answer stays, the rest of the fact too.
    assert result["said-factuality"].rejected == LISTED.answer.replace("1204", "1304")
    head, *items = LISTED.answer.split("\n")
    lines = result["said-completeness"].rejected.split("\n")
    assert lines[:2] == [head, items[0]]
    assert [item for item in items if item in lines] == lines[1:]
    # floor(0.5 * 4) = 2 of four lines go.
    assert len(lines) == 3
    order = result["said-logicality"].rejected.split("\n")
    assert order[0] == head
    assert sorted(order[1:]) == sorted(items)
    assert order[1:] != items
    # It was founded goes with Aru.
    assert order.index(items[1]) == order.index(items[0]) + 1


def test_what_an_aspect_adds_to_the_facts_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    # As of an aspect of one's own: behind the facts, what the teacher made of them.
    added = replace(ASPECTS["factuality"], reject=lambda record, _, reply: [*record.facts, *reply.facts])
    monkeypatch.setitem(ASPECTS, "added", added)
    rejected = pairs([TWO], chosen_settings=settings("original", ["added"]))["q2-added"].rejected
    assert rejected.startswith(f"{TWO.answer} ")


def test_facts_that_are_no_sentences_of_the_answer_are_joined_and_counted() -> None:
    record = Facts(id="q", question="Q?", answer="A and B, then C.", facts=["A.", "B.", "C."])
    counts = PerturbCounts()
    rows = list(perturb([record], ScriptedTeacher(), settings("original", ["completeness"]), counts))
    assert counts.joined == 1
    assert (rows[0].chosen, rows[0].rejected) == ("A and B, then C.", rows[0].rejected)
    assert rows[0].rejected in ("A. B.", "A. C.")


def test_what_is_deleted_is_filled_to_its_length() -> None:
    facts = ["Aru is a port.", "Aru has many old ships.", "Salt is dear.", "Some towns on it trade in wool."]
    record = Facts(id="r", question="What is Aru?", answer=" ".join(facts), facts=facts)
    other = Facts(id="o", question="Where is Bor?", answer="", facts=["Bor lies north.", "Bor is near."])
    same = Facts(id="s", question="Is Aru old?", answer="", facts=["Some say so of that place."])

    def rejected(fill: str) -> str:
        how = Settings("original", ["completeness"], Perturbation(1, 0.25), fill=fill)
        return next(iter(perturb([record, other, same], ScriptedTeacher(), how, PerturbCounts()))).rejected

    bare, again, foreign = map(rejected, ("none", "repeat", "foreign"))
    (gone,) = [fact for fact in facts if fact not in bare]
    # One fact is gone, and another that is kept stands in its place too.
    assert again in {record.answer.replace(gone, kept) for kept in facts if kept != gone}
    # Never of the record that asks about Aru too.
    assert foreign in {record.answer.replace(gone, fact) for fact in other.facts}


def test_false_facts_are_borrowed_from_records_that_are_beside_the_question() -> None:
    def record(name: str, town: str, *facts: str) -> Facts:
        return Facts(id=name, question=f"What of {town}?", answer=" ".join(facts), facts=list(facts))

    aru = record("a", "Aru", "Aru trades in salt.", "The river of Aru is the Ouse.")
    bor = record("b", "Bor", "Bor lies north.", "The river of Bor is the Trent.", "Bor trades in wool.")
    # About the same town: what it says may be true of the question.
    also = record("c", "Aru", "The river of Aru is the Arrow.", "Aru trades in silver.")
    how = Settings("paper", ["factuality"], Perturbation(1, 0.5), revise="borrowed")
    teacher = ScriptedTeacher()
    result = pairs([aru, bor, also], teacher, how)
    assert result["a-factuality"].rejected == "Bor trades in wool. The river of Bor is the Trent."
    assert not any(isinstance(task, Revise) for task in teacher.tasks)
    # Both ask about Aru, so neither lends to the other.
    alone = pairs([aru, also], chosen_settings=how)["a-factuality"]
    assert (alone.left_out, alone.reason) == (
        True, "factuality: found too few facts of other records beside the question"
    )  # fmt: skip


@pytest.mark.parametrize(("style", "fill"), [("matched", "none"), ("original", "repeat")])
def test_the_offset_counts_facts_that_are_missing_or_false(style, fill) -> None:
    facts = ["Aru is old.", "Bor is new.", "Cal is near.", "Dun is far."]
    record = Facts(id="q", question="Q?", answer=" ".join(facts), facts=facts)
    perturbation = Perturbation(1, beta_delete=0.5, revise_share=0.75)
    how = Settings(style, list(ASPECTS), perturbation, fill=fill, offset=0.1)
    rows = pairs([record], chosen_settings=how).values()
    # floor(0.5 * 4) = 2 are missing, ceil(0.75 * 4) = 3 are false; shuffled facts are all there.
    assert {row.aspect: row.offset for row in rows} == {
        "completeness": 0.2, "factuality": 0.3, "logicality": 0.0
    }  # fmt: skip


def test_one_fact_alone_may_be_missing_or_false() -> None:
    how = Settings("paper", ["completeness", "factuality"], Perturbation(1, 0.0, 0.01), offset=1.0)
    assert {row.offset for row in pairs([THREE], chosen_settings=how).values()} == {1.0}
