"""The knowledge source of verification: retrieval by hand, rows that are wrong, verdicts with evidence."""

from __future__ import annotations

import json
from math import log
from pathlib import Path
from typing import Any

import pytest

from knowtuning.config.verify import JudgedBy
from knowtuning.core.records import Example, Verified, read_jsonl, write_jsonl
from knowtuning.teacher.judging import VerifyByPassages
from knowtuning.verification.answer_facts import check_answers
from knowtuning.verification.passages import KnowledgeSource, Passage, knowledge_source
from tests.evaluation.test_facts import EXAMPLE, LOST, predictions, scripted, verdicts
from tests.evaluation.test_judge_stage import EXAMPLES, TRUTH, project, verify
from tests.support.fault_server import Answer, Call, FaultServer
from tests.support.oracle import Oracle, entries, sections

pytest.importorskip("bm25s", reason="bm25s is not installed")

PASSAGES = [
    Passage(title="Red things", text="Red is a colour."),
    Passage(title="Circles", text="Circles are round things, and wheels are round."),
    Passage(title="Salt", text="Salt is dear."),
]


def test_passages_are_ranked_by_bm25() -> None:
    result = KnowledgeSource(PASSAGES, 2).evidence("What is it?", "Round things are red.")
    # Content words: 4 (red, things, red, colour), 6 (circles, circles, round, things, wheels, round) and 3, a
    # mean of 13/3. Lucene: for each word ln(1 + (3 - df + 0.5) / (df + 0.5)) times the weight below.
    once, twice = log(1 + 2.5 / 1.5), log(1 + 1.5 / 2.5)

    def weight(tf: int, length: int) -> float:
        return tf / (tf + 1.5 * (0.25 + 0.75 * length * 3 / 13))

    assert [(each.title, each.score) for each in result] == [
        ("Red things", pytest.approx(once * weight(2, 4) + twice * weight(1, 4), abs=1e-4)),
        ("Circles", pytest.approx(once * weight(2, 6) + twice * weight(1, 6), abs=1e-4)),
    ]


def test_nothing_is_retrieved_where_no_word_is_shared_and_each_passage_is_shown_once() -> None:
    source = KnowledgeSource(PASSAGES, 3)
    assert source.evidence("What is it?", "It is.") == source.evidence("Why?", "Nobody knows.") == []
    # Red stands twice in a passage of four words, wheels once in one of six.
    assert source.passages("?", ["Wheels are red.", "Red wheels."]) == (
        "Red things: Red is a colour.",
        "Circles: Circles are round things, and wheels are round.",
    )


def judge(path: str | None, backend: str = "openai") -> JudgedBy:
    endpoint: dict[str, Any] = dict.fromkeys(("base_url", "temperature", "top_p", "seed"))
    knowledge = {"path": path, "passages": 5}
    return JudgedBy.model_validate(
        {"backend": backend, "model": "m", "max_tokens": 64, "extra": {}, "knowledge": knowledge, **endpoint}
    )


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ('{"title": "A"}', r"k\.jsonl:1: text: Field required; expected lines of"),
        ('{"title": 1, "text": "B."}', r"k\.jsonl:1: title: .* valid string; expected lines of"),
        ("A\tB.", r"k\.jsonl:1: line: Invalid JSON.*; expected lines of"),
        ("\n", r"k\.jsonl: found no row; expected lines of"),
        ('{"title": "A", "text": "\x81"}', r"k\.jsonl: not UTF-8 \(invalid start byte\); save it as"),
    ],
)
def test_a_file_that_holds_no_passages_is_named(line: str, complaint: str, tmp_path: Path) -> None:
    path = tmp_path / "k.jsonl"
    path.write_text(line, encoding="latin-1")
    with pytest.raises(ValueError, match=complaint):
        knowledge_source(judge(str(path)), tmp_path / "none")


def test_a_file_as_windows_writes_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "k.jsonl"
    path.write_text('\ufeff{"title": "Tin", "text": "Tin melts."}\r\n\r\n', encoding="utf-8")
    source = knowledge_source(judge(str(path)), tmp_path / "none")
    assert source is not None
    assert source.passages("What melts?", ["Tin melts."]) == ("Tin: Tin melts.",)


def test_a_source_that_nobody_reads_or_that_is_not_there_is_named(tmp_path: Path) -> None:
    assert knowledge_source(judge(None), tmp_path) is None
    with pytest.raises(ValueError, match=r"judge\.knowledge\.path: .*none\.jsonl not found"):
        knowledge_source(judge(str(tmp_path / "none.jsonl")), tmp_path)
    with pytest.raises(ValueError, match=r"judge\.knowledge\.path is 'train' and judge\.backend is exact"):
        knowledge_source(judge("train", "exact"), tmp_path)


def test_long_texts_are_cut_and_training_answers_are_a_source_too(tmp_path: Path) -> None:
    text = " ".join(f"w{number}." for number in range(151))
    write_jsonl(tmp_path / "train.jsonl", [Example(id="a", question="Which?", answer=text)])
    source = knowledge_source(judge("train"), tmp_path / "train.jsonl")
    assert source is not None
    first, second = text[: text.index(" w150")], "w150."
    assert source.passages("?", ["w149", "w150"]) == (f"Which?: {first}", f"Which?: {second}")


def test_verdicts_carry_their_evidence_whether_or_not_a_reply_came() -> None:
    teacher = scripted(verdicts("supported", "not_supported"))
    answer, source = predictions("Round it is. Nobody knows."), KnowledgeSource(PASSAGES, 1)
    (row,) = check_answers([EXAMPLE], {"kc": answer}, teacher, recall=False, source=source)
    (task,) = [task for task in teacher.tasks if isinstance(task, VerifyByPassages)]
    assert task.passages == ("Circles: Circles are round things, and wheels are round.",)
    titles = [[each.title for each in sentence.evidence] for sentence in row.sentences]
    assert titles == [["Circles"], []]
    # Without evidence the record is as it was.
    assert [set(each) for each in row.model_dump()["sentences"]] == [
        {"text", "verdict", "evidence"}, {"text", "verdict"}
    ]  # fmt: skip
    (lost,) = check_answers([EXAMPLE], {"kc": answer}, scripted(LOST), recall=False, source=source)
    assert lost.unscored == ["verify: no reply"]
    assert [each.title for each in lost.sentences[0].evidence] == ["Circles"]


@pytest.mark.slow
def test_the_stage_verifies_against_passages_and_keeps_what_they_were(tmp_path: Path) -> None:
    seen: list[list[str]] = []

    def note(call: Call, answer: Answer) -> Answer:
        output = sections(call.messages[1]["content"])
        if "Facts to check" in output:
            seen.append(entries(output["Passages"]))
        return answer

    data = tmp_path / "data/raw/known.jsonl"
    data.parent.mkdir(parents=True)
    rows = [{"title": e.meta["entity"], "text": e.answer} for e in EXAMPLES if e.answer]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with FaultServer(Oracle(TRUTH, EXAMPLES, note)) as server:
        folder = project(tmp_path, "openai", server.url, truth=False, knowledge="data/raw/known.jsonl")
        done = verify(folder)
    assert done.returncode == 0, done.stderr
    assert seen
    assert all(seen)
    sentences = [
        s
        for row in read_jsonl(tmp_path / "data/verification/verdicts.jsonl", Verified)
        for s in row.sentences
    ]
    assert {each.title for s in sentences for each in s.evidence} == set(TRUTH.towns)
    assert all(1 <= len(s.evidence) <= 2 for s in sentences if s.verdict == "correct")
    outside = project(tmp_path / "outside", "openai", knowledge="known.jsonl")
    refused = verify(outside)
    assert refused.stderr.startswith(
        "error: params.yaml: judge.knowledge.path is 'known.jsonl', where DVC would"
    )
