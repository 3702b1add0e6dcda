"""The LLM path of facts and pairs through the real client, against the exact verifier and a faulty oracle."""

from __future__ import annotations

from pathlib import Path

import pytest

from knowtuning.core.records import Judgement, Scores
from knowtuning.evaluation.fact_metrics import fact_metrics
from knowtuning.evaluation.metrics import MetricInputs, score_answers
from knowtuning.evaluation.pairwise import contests, judge_metrics
from knowtuning.evaluation.stats import Resampling
from knowtuning.knowledge.aspects import ASPECTS
from knowtuning.systems import SYSTEMS
from knowtuning.verification.judgements import ExactJudge, Matchup, TeacherJudge, judge_pairs
from knowtuning.verification.jury import Jury, position_warning
from tests.support.fault_server import Answer, Call, FaultServer, says
from tests.support.openai_setup import teacher_at
from tests.support.oracle import Oracle, answers_of, sections, share, small_world

HOW = Resampling(seed=1, resamples=1000)
TRUTH, EXAMPLES = small_world(6)
PREDICTIONS = answers_of(TRUTH, EXAMPLES)
TEXTS = {system: [one.answer for one in predictions] for system, predictions in PREDICTIONS.items()}
WORDS = {system: [len(text.split()) for text in texts] for system, texts in TEXTS.items()}
MATCHUPS: list[Matchup] = [("kc", "sft"), ("kc", "base")]
EXACT = judge_pairs(EXAMPLES, TEXTS, MATCHUPS, ExactJudge(TRUTH))


def judged(oracle: Oracle, cache: Path) -> list[Judgement]:
    with FaultServer(oracle) as server:
        return judge_pairs(EXAMPLES, TEXTS, MATCHUPS, TeacherJudge(teacher_at(server.url, cache)))


def table(judgements: list[Judgement]) -> dict[str, dict[str, dict[str, float]]]:
    return judge_metrics(contests(judgements, WORDS, HOW))


def rows_of(jury: Jury, cache: Path) -> list[Scores]:
    """The scores of all answers, verified by this jury."""
    verdicts = jury.verify(EXAMPLES, PREDICTIONS)
    rows: list[Scores] = []
    for system, inputs in PREDICTIONS.items():
        answers = MetricInputs(EXAMPLES, inputs, cache)
        rows += score_answers(answers, system, [v for v in verdicts if v.system == system])
    return rows


@pytest.fixture(scope="module")
def exact_rows(cache: Path) -> list[Scores]:
    return rows_of(Jury(TRUTH, None, "computed"), cache)


def checked_by(oracle: Oracle, replies: Path, cache: Path) -> list[Scores]:
    with FaultServer(oracle) as server:
        return rows_of(Jury(None, teacher_at(server.url, replies), "computed"), cache)


def test_the_fixture_has_wins_losses_ties_and_equal_answers() -> None:
    """Else the comparisons below would prove little."""
    for pair in table(EXACT).values():
        for result in pair.values():
            assert result["win"] > 0
            assert result["lose"] > 0
            assert result["tie"] > 0
    assert table(EXACT)["kc-sft"]["completeness"]["equal"] > 0


def test_a_perfect_judge_gives_the_exact_table(tmp_path: Path) -> None:
    oracle = Oracle(TRUTH, EXAMPLES)
    rows = judged(oracle, tmp_path)
    assert rows == EXACT
    assert table(rows) == table(EXACT)
    # Two calls a pair and aspect, none for equal answers; a call shared by two pairs is made once.
    assert 0 < len(oracle.asked) <= 2 * sum(row.forward is not None for row in EXACT)


def test_a_judge_that_prefers_the_first_in_a_fifth_of_its_calls_is_seen(tmp_path: Path) -> None:
    def biased(call: Call) -> bool:
        return share(call, "position") < 0.2

    seen: dict[tuple[str, str, str, str], bool] = {}

    def twist(call: Call, answer: Answer) -> Answer:
        output = sections(call.messages[1]["content"])
        key = (output["Question"], output["Aspect"], output["First answer"], output["Second answer"])
        seen[key] = biased(call)
        return says('{"reason": "It is first.", "verdict": "first"}') if seen[key] else answer

    rows = judged(Oracle(TRUTH, EXAMPLES, twist), tmp_path)
    assert 0.1 < sum(seen.values()) / len(seen) < 0.3
    # Derived apart from the code under test: the true verdict of each pair, and which calls were biased.
    for row, exact in zip(rows, EXACT, strict=True):
        if exact.forward is None:  # equal answers are not shown
            assert row == exact
            continue
        asked, one, other = shown(row)
        true = {"win": "a", "lose": "b", "tie": "tie"}[exact.outcome]
        assert row.forward == ("a" if seen[*asked, one, other] else true)
        assert row.backward == ("b" if seen[*asked, other, one] else true)
    # The rates of such verdicts are worked out by hand elsewhere.
    for pair, leaves in table(rows).items():
        for aspect, leaf in leaves.items():
            exact_leaf = table(EXACT)[pair][aspect]
            assert leaf["swap_consistency"] < exact_leaf["swap_consistency"] == 100.0
            assert leaf["first_position_rate"] > exact_leaf["first_position_rate"] == 50.0


def shown(row: Judgement) -> tuple[tuple[str, str], str, str]:
    """The question and the aspect that a judge is asked about, and the answers."""
    index = [example.id for example in EXAMPLES].index(row.question)
    return (EXAMPLES[index].question, row.aspect), TEXTS[row.a][index], TEXTS[row.b][index]


def fault_of(call: Call) -> str | None:
    """A tenth of all calls each; decided by what is asked, so that asking again meets the same."""
    drawn = share(call, "fault")
    return "malformed" if drawn < 0.1 else "refused" if drawn < 0.2 else "twofold" if drawn < 0.3 else None


def faulty(call: Call, answer: Answer) -> Answer:
    match fault_of(call):
        case "malformed":
            return says("I would rather not say.")
        case "refused":
            return says(None, refusal="I cannot help with that.")
        case "twofold":
            # Contradictory: two well-formed verdicts in one reply, whatever the task.
            return says(answer_text(answer) + " No: " + answer_text(answer, flip=True))
    return answer


def answer_text(answer: Answer, *, flip: bool = False) -> str:
    text = str(answer.body["choices"][0]["message"]["content"])
    if not flip:
        return text
    swaps = {
        '"first"': '"second"',
        '"second"': '"tie"',
        '"tie"': '"first"',
        '"supported"': '"contradicted"',
        '"contradicted"': '"not_supported"',
        '"not_supported"': '"supported"',
        '"stated": true': '"stated": false',
        '"stated": false': '"stated": true',
        '{"facts": [': '{"facts": ["One more.", ',
    }
    for old, new in swaps.items():
        if old in text:
            return text.replace(old, new)
    raise AssertionError(text)


def test_faulty_verdicts_are_counted_apart_and_change_no_other(tmp_path: Path) -> None:
    lost: set[tuple[str, str, str, str]] = set()

    def twist(call: Call, answer: Answer) -> Answer:
        if fault_of(call):
            output = sections(call.messages[1]["content"])
            lost.add((output["Question"], output["Aspect"], output["First answer"], output["Second answer"]))
        return faulty(call, answer)

    rows = judged(Oracle(TRUTH, EXAMPLES, twist), tmp_path)
    for row, exact in zip(rows, EXACT, strict=True):
        asked, one, other = shown(row)
        if (*asked, one, other) in lost or (*asked, other, one) in lost:
            assert row.outcome == "unjudged"
            assert row.reason is not None
            assert "refused" in row.reason or "unusable reply" in row.reason
        else:
            assert row == exact
    unjudged = {(row.a, row.b, row.aspect) for row in rows if row.outcome == "unjudged"}
    assert unjudged == {(*pair, aspect) for pair in MATCHUPS for aspect in ASPECTS}


def test_a_perfect_verifier_gives_the_exact_counts(
    tmp_path: Path, cache: Path, exact_rows: list[Scores]
) -> None:
    rows = checked_by(Oracle(TRUTH, EXAMPLES), tmp_path, cache)
    assert fact_metrics(rows, HOW) == fact_metrics(exact_rows, HOW)
    for row, true in zip(rows, exact_rows, strict=True):
        for name in ("correct", "incorrect", "duplicate", "percent_correct"):
            assert row.scores[name] == true.scores[name], (row.id, name)
        assert row.scores["unverifiable"] == true.scores["unparsed"]
        assert row.scores["recall"] == true.scores["completeness"]
        assert row.unscored == []
    # Blank answers: no call, nothing stated, nothing recalled.
    blank = [row for row in rows if row.scores["words"] == 0]
    assert blank
    assert {(row.scores["correct"], row.scores["recall"]) for row in blank} == {(0.0, 0.0)}


def test_faulty_verifications_leave_their_answers_in_the_counts(
    tmp_path: Path, cache: Path, exact_rows: list[Scores]
) -> None:
    rows = checked_by(Oracle(TRUTH, EXAMPLES, faulty), tmp_path, cache)
    exact = {row.id: row for row in exact_rows}
    metrics, true = fact_metrics(rows, HOW), fact_metrics(list(exact.values()), HOW)
    for system in SYSTEMS:
        mine = [row for row in rows if row.system == system]
        unscored = [row for row in mine if row.scores["unscored"] == 100.0]
        assert unscored
        for row in mine:
            if row in unscored:
                assert any(reason.startswith(("extract: ", "verify: ")) for reason in row.unscored)
                assert row.scores["correct"] is None
                assert {s.verdict for s in row.sentences} <= {"unscored"}
            else:
                # Whatever did get a verdict is as it was.
                assert row.scores["correct"] == exact[row.id].scores["correct"]
        leaf = metrics[system]
        assert leaf["answers"] == len(EXAMPLES)
        assert leaf["answers_unscored"] == len(unscored)
        raw = leaf["raw"]
        assert raw["correct"] + raw["incorrect"] + raw["unverifiable"] + raw["unscored"] == raw["total"]
        # Facts that could not be extracted are in no count; with those, the total is the exact one.
        missing = sum(len(exact[row.id].sentences) for row in unscored if not row.sentences)
        assert raw["total"] + missing == true[system]["raw"]["total"]
        assert leaf["recall_unscored"] == sum(row.scores["recall"] is None for row in mine) > 0


def test_a_judge_that_looks_at_the_position_alone_is_warned_about(tmp_path: Path) -> None:
    with FaultServer(lambda call: says('{"reason": "It is first.", "verdict": "first"}')) as server:
        result = judge_pairs(EXAMPLES, TEXTS, MATCHUPS, TeacherJudge(teacher_at(server.url, tmp_path)))
    line = position_warning(result)
    assert line is not None
    assert "shown first in 100 %" in line
    assert "agree on 0 % of pairs" in line
    assert position_warning(EXACT) is None
