"""Sheets out and back: blinding, order, spreadsheets' habits, faults, and the command from end to end."""

from __future__ import annotations

import csv
import json
import subprocess
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knowtuning.core.records import Example, Judgement, Prediction, read_jsonl, write_jsonl
from knowtuning.core.storage import read_json, write_json
from knowtuning.human.forms import (
    guard,
    interface,
    read_export,
    read_sheet,
    unguard,
    write_sheet,
    write_tasks,
)
from knowtuning.human.items import Item, KeyItem, draw_items, sheet_order
from knowtuning.human.verdicts import Vote
from knowtuning.knowledge.aspects import ASPECTS
from tests.support.forks import run_stage
from tests.support.params import write_params
from tests.support.records import prediction
from tests.support.report_run import QUESTIONS, write_answers


def world(count: int) -> tuple[list[Example], dict[str, dict[str, Prediction]]]:
    """`count` questions, each answered differently by three systems, but question 0 alike by ka and kc."""
    examples = [
        Example(id=f"q{i}", question=f"Question {i}?", answer=f"Reference {i}.") for i in range(count)
    ]
    systems: list[str] = ["sft", "ka", "kc"]

    def answer(system: str, i: int) -> Prediction:
        text = "The same." if i == 0 and system != "sft" else f"Answer {i} number {systems.index(system)}."
        return prediction(f"q{i}", text, f"Question {i}?")

    return examples, {s: {f"q{i}": answer(s, i) for i in range(count)} for s in systems}


def draw(count: int, questions: int, *, both: bool = True) -> list[Item]:
    examples, answers = world(count)
    pairs: list[tuple[str, str]] = [("kc", "sft"), ("kc", "ka")]
    return draw_items(examples, answers, pairs, questions=questions, both_orders=both, seed=3)


def test_more_questions_keep_the_ones_before_and_orders_are_balanced() -> None:
    few, many = draw(40, 10), draw(40, 40)
    assert [item.key for item in few] == [item.key for item in many[: len(few)]]
    assert len({item.key.id for item in many}) == len(many)
    # 40 questions, 2 pairs, 2 orders; q0 is equal for kc and ka: one item, not two.
    assert len(many) == 40 * 2 * 2 - 1
    for item in many:
        one = 2 if item.key.first == "a" else {"sft": 0, "ka": 1}[item.key.b]
        assert item.answer_1 == (
            "The same." if item.key.equal else f"Answer {item.key.question[1:]} number {one}."
        ) or (item.key.question == "q0" and item.key.first == "a")
    # Which order comes first is drawn per pair: of 80 fair draws between 25 and 55 (probability of less than
    # 25 or more than 55: below 1e-3), and fixed by the seed.
    firsts = [item.key.first for item in draw(40, 40, both=False)]
    assert len(firsts) == 80
    assert 25 < firsts.count("a") < 55


def test_the_second_order_comes_after_all_firsts_and_equals_are_not_asked() -> None:
    items = draw(10, 10)
    shown = sheet_order(items, 1, seed=3)
    # 10 * 2 pairs, less the equal one.
    pairs = [(item.key.question, item.key.b) for item in shown]
    assert len(shown) == 38
    assert len(set(pairs[:19])) == len(set(pairs[19:])) == 19
    assert [item.key.id for item in sheet_order(items, 2, seed=3)] != [item.key.id for item in shown]
    assert sheet_order(items, 1, seed=3) == shown


def test_what_cannot_be_drawn() -> None:
    examples, answers = world(3)
    for pairs, questions, match in (
        ([("kc", "sft")], 4, "--questions is 4; expected 1 to 3"),
        ([("kc", "sft"), ("sft", "kc")], 1, "asked for twice"),
    ):
        with pytest.raises(ValueError, match=match):
            draw_items(examples, answers, pairs, questions=questions, both_orders=True, seed=1)


@given(st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from("=+-@'\t\r\n")))
def test_guarded_cells_are_no_formula_and_come_back(text: str) -> None:
    cell = guard(text)
    assert unguard(cell) == text
    assert not cell.startswith(("=", "+", "-", "@", "\t", "\r"))


def hostile() -> list[Item]:
    key = KeyItem(id="item-1", question="q", a="kc", b="sft", first="a", equal=False)
    return [Item(key, '=HYPERLINK("https://example.org")', "-1", "'quoted", 'two\nlines; a "mark", ü')]


def test_a_sheet_holds_texts_without_names_of_systems(tmp_path: Path) -> None:
    path = tmp_path / "sheet.csv"
    write_sheet(path, hostile(), ["factuality"], reference=True)
    with path.open(encoding="utf-8-sig", newline="") as stream:
        head, row = list(csv.reader(stream))
    assert head == ["item", "question", "reference", "answer_1", "answer_2", "factuality", "comment"]
    assert row == [
        *("item-1", '\'=HYPERLINK("https://example.org")', "'-1", "''quoted", 'two\nlines; a "mark", ü'),
        *("", ""),
    ]
    assert [unguard(cell) for cell in row[1:4]] == ['=HYPERLINK("https://example.org")', "-1", "'quoted"]
    write_sheet(path, hostile(), ["factuality"], reference=False)
    assert "reference" not in path.read_text(encoding="utf-8-sig").splitlines()[0]
    assert "kc" not in path.read_text(encoding="utf-8")


def test_sheets_come_back_as_spreadsheets_save_them(tmp_path: Path) -> None:
    key = {item.key.id: item.key for item in hostile()}
    expected = [Vote("ann", "item-1", "factuality", "second")]
    for name, text in {
        "commas": "item,factuality\nitem-1,2\n",
        "semicolons, mark, line ends": "\ufeffitem;comment;factuality\r\nitem-1;a, b;2\r\n",
        "apostrophe, spaces": "item,factuality\nitem-1, '2 \n",
        "a long answer": f"item,answer_1,factuality\nitem-1,{'far ' * 50_000},2\n",
    }.items():
        path = tmp_path / f"{name}.csv"
        path.write_bytes(text.encode("utf-8"))
        assert read_sheet(path, key, ["factuality"], "ann") == expected, name
    path.write_text("item,factuality\nitem-1,\n")
    assert read_sheet(path, key, ["factuality"], "ann") == []


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (b"item,factuality\nitem-1,3\n", r"row 2: factuality: found '3', expected 1, 2, tie or nothing"),
        (b"item,factuality\nitem-2,1\n", r"row 2: item: found 'item-2', expected an item of the key"),
        (b"item,factuality\nitem-1,1\nitem-1,1\n", r"row 3: item item-1 is in row 2 too; delete one"),
        (b"item,fact\nitem-1,1\n", r"row 1: no column factuality; found item, fact; keep the header"),
        (b"", r"row 1: no column item; found no header"),
        (b"item,factuality\nitem-1,\xff\n", r"not UTF-8 .*; save it as UTF-8"),
    ],
)
def test_faulty_sheets_end_in_one_line(tmp_path: Path, text: bytes, error: str) -> None:
    path = tmp_path / "sheet.csv"
    path.write_bytes(text)
    with pytest.raises(ValueError, match=rf"sheet\.csv: {error}"):
        read_sheet(path, {item.key.id: item.key for item in hostile()}, ["factuality"], "ann")


def test_the_interface_of_label_studio_fits_its_tasks(tmp_path: Path) -> None:
    write_tasks(tmp_path / "tasks.json", hostile(), reference=True)
    [task] = read_json(tmp_path / "tasks.json")
    view = ElementTree.fromstring(interface(list(ASPECTS), reference=True))
    assert {text.get("value") for text in view.iter("Text")} == {
        f"${name}" for name in task["data"] if name != "item"
    }
    names = {text.get("name") for text in view.iter("Text")}
    choices = list(view.iter("Choices"))
    assert [each.get("name") for each in choices] == list(ASPECTS)
    assert all(each.get("toName") in names and each.get("required") == "true" for each in choices)
    assert [each.get("value") for each in choices[0]] == ["1", "2", "tie"]
    # Texts are not cells: nothing is guarded.
    assert task["data"]["question"] == '=HYPERLINK("https://example.org")'
    assert "kc" not in json.dumps(task)


def annotation(by: Any, choice: str, **more: Any) -> dict[str, Any]:
    """An annotation as Label Studio exports it."""
    result = {"from_name": "factuality", "to_name": "answer_1", "type": "choices"}
    result |= {"value": {"choices": [choice]}}
    return {"id": 4, "completed_by": by, "was_cancelled": False, "result": [result], **more}


def test_exports_of_label_studio(tmp_path: Path) -> None:
    key = {item.key.id: item.key for item in hostile()}
    path = tmp_path / "export.json"

    def read(*annotations: dict[str, Any], item: str = "item-1") -> list[Vote]:
        write_json(path, [{"id": 1, "data": {"item": item}, "annotations": list(annotations)}])
        return read_export(path, key, ["factuality"])

    mail = {"id": 9, "email": "ann@example.org"}
    assert read(annotation(1, "1"), annotation(mail, "tie"), annotation(5, "2", was_cancelled=True)) == [
        Vote("annotator-1", "item-1", "factuality", "first"),
        Vote("annotator-9", "item-1", "factuality", "tie"),
    ]
    for faulty, match in (
        ({"annotations": (annotation(1, "1"), annotation(1, "2"))}, "task 1: two annotations by annotator-1"),
        ({"annotations": (annotation(1, "both"),)}, "task 1: factuality: found 'both', expected 1, 2, tie"),
        ({"annotations": (annotation(None, "1"),)}, "task 1: completed_by: found no number"),
        ({"annotations": (), "item": "x"}, "task 1: data.item: found 'x', expected an item of the key"),
    ):
        with pytest.raises(ValueError, match=match):
            read(*faulty["annotations"], item=str(faulty.get("item", "item-1")))
    write_json(path, [{"id": 1, "item": "item-1", "factuality": "1"}])
    with pytest.raises(ValueError, match="task 1: no annotations; export as JSON, not JSON-MIN or CSV"):
        read_export(path, key, ["factuality"])


def annotate(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return run_stage(folder, "annotate", *words)


def fill(path: Path, key: dict[str, KeyItem], *, always_first: bool) -> None:
    """An annotator who prefers kc in every aspect but finds logicality even; or one who takes the first."""
    with path.open(encoding="utf-8-sig", newline="") as stream:
        rows = list(csv.DictReader(stream))
    for row in rows:
        best = "1" if always_first or key[row["item"]].first == "a" else "2"
        row |= {"completeness": best, "factuality": best, "logicality": "tie"}
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]), delimiter=";")
        writer.writeheader()
        writer.writerows(rows)


def test_the_command_from_export_to_numbers(tmp_path: Path) -> None:
    write_answers(tmp_path / "data")
    write_params(tmp_path)
    done = annotate(tmp_path, "export", "--questions", "4", "--annotators", "2")
    assert done.returncode == 0, done.stderr
    sheets = sorted((tmp_path / "data/human/sheets").glob("*.csv"))
    key = {each.id: each for each in read_jsonl(tmp_path / "data/human/key.jsonl", KeyItem)}
    # alpha: sft's text is another one; beta differs; gamma and results are answered alike.
    assert {each.question for each in key.values() if each.equal} == {"gamma/δ", "results"}
    assert "4 items for 2 annotators; 2 equal, not asked" in done.stdout
    fill(sheets[0], key, always_first=False)
    fill(sheets[1], key, always_first=True)
    tie: dict[str, Any] = {"forward": "tie", "backward": "tie", "outcome": "tie", "reason": None}
    judged = [
        Judgement(id=f"{q}/kc-sft/factuality", question=q, a="kc", b="sft", aspect="factuality", **tie)
        for q in ("alpha", "beta")
    ]
    write_jsonl(tmp_path / "data/verification/judgements.jsonl", judged)
    done = annotate(tmp_path, "import", *map(str, sheets))
    assert done.returncode == 0, done.stderr
    result = read_json(tmp_path / "metrics/human.json")
    # Annotator 1: kc wins alpha and beta. Annotator 2 takes the first in both orders: ties. So no majority.
    assert result["pairs"]["kc-sft"]["factuality"]["tie"] == 100.0
    assert result["agreement"]["factuality"] == {
        "cases": 2,
        "left_out": 0,
        "raters": 2,
        "agree": 0.0,
        "cohen_kappa": 0.0,
    }
    # All even: agreement without a kappa.
    assert result["agreement"]["logicality"] == {"cases": 2, "left_out": 0, "raters": 2, "agree": 100.0}
    assert result["judge"]["factuality"] == {"cases": 2, "unjudged": 0, "agree": 100.0}
    assert result["judge"]["logicality"] == {"cases": 0, "unjudged": 2}
    # 2 pairs of texts in 2 orders, 2 aspects with preferences.
    assert result["annotator"]["annotator-1"] == {
        "preferences": 8,
        "both_orders": 6,
        "first_position_rate": 50.0,
        "swap_consistency": 100.0,
    }
    # Of its 6 pairs and aspects those of logicality are alike: 2.
    assert result["annotator"]["annotator-2"] == {
        "preferences": 8,
        "both_orders": 6,
        "first_position_rate": 100.0,
        "swap_consistency": 33.3333,
    }
    assert (result["cases"], result["equal"], result["unanswered"]) == (len(QUESTIONS) * 3, 6, 0)
    # An export would hide the key of sheets that people have at hand.
    done = annotate(tmp_path, "export", "--questions", "4")
    assert done.returncode == 1
    assert done.stderr.startswith("error: data/human/key.jsonl: exists; people may be at work with it")
    done = annotate(tmp_path, "export", "--pairs", "kc-llama", "--key", "other.jsonl", "--questions", "4")
    assert done.stderr == (
        "error: --pairs: found 'kc-llama', expected two of base, sft, ka, kc, such as kc-sft\n"
    )
