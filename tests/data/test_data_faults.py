"""Bad input: each fault gives one line with the file, the place and what was expected."""

from __future__ import annotations

import gzip
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from knowtuning.data.examples import Columns, Reject, Row, to_example
from knowtuning.data.hub import read_hub
from knowtuning.data.medquad import read_medquad
from knowtuning.data.rows import RawRow, read_rows

WANTED = ["instruction", "output"]
GOOD = {"instruction": "Q?", "output": "A."}
COLUMNS = Columns("instruction", "output", context="input", id="key")


def message(path: Path, data: bytes) -> str:
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r".") as caught:
        list(read_rows(path, WANTED))
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "data", "expected"),
    [
        ("a.json", b'[\n{"instruction": "Q"},\n{"instruction" "Q"}]', "a.json:3: not JSON: Expecting ':'"),
        ("a.json", b"", "a.json:1: not JSON"),
        ("a.jsonl", b"", "a.jsonl: the file holds no row; expected at least one"),
        ("a.csv", b"instruction,output\n", "a.csv: the file holds no row; expected at least one"),
        ("a.jsonl", b'{"instruction": "Q', "a.jsonl:1: not JSON: Unterminated string starting at column 17"),
        ("a.json", b'[{"instruction": NaN}]', "a.json:1: not JSON: NaN is not a JSON value"),
        ("a.json", b"[" * 200_000, "a.json:1: not JSON: maximum recursion depth"),
        ("a.json", json.dumps(GOOD).encode(), "a.json: found an object, expected an array"),
        ("a.jsonl", b'{"instruction": "Q", "output": "A"}\n\n{"instr', "a.jsonl:3: not JSON"),
        # The header line has 19 bytes and "Caf" 3: the e acute of Latin-1 (0xe9) is at 19 + 3 = 22.
        ("a.csv", b"instruction,output\nCaf\xe9,A\n", "a.csv:2: not UTF-8 at byte offset 22 (found 0xe9)"),
        ("a.json", "[]".encode("utf-16"), "a.json:1: not UTF-8 at byte offset 0 (found 0xff)"),
        ("a.json", b"\xef\xbb\xbf[\xff", "a.json:1: not UTF-8 at byte offset 4 (found 0xff)"),
        (
            "a.json",
            b'[{"instruction": "Q", "answer": "A"}]',
            "no column 'output'; found 'instruction', 'answer'",
        ),
        ("a.csv", b"instruction,answer\nQ,A\n", "no column 'output'; found 'instruction', 'answer'"),
        ("a.csv", b"output,output\nQ,A\n", "a.csv:1: column 'output' occurs twice"),
        ("a.csv", b'instruction,output\nQ,"A\n', "a.csv:2: not CSV: unexpected end of data"),
        ("a.jsonl.gz", gzip.compress(b'{"a": "Q"}\n', mtime=0)[:-6], "a.jsonl.gz: broken gzip file"),
        ("a.jsonl.gz", b'{"instruction": "Q"}\n', "a.jsonl.gz: broken gzip file"),
        ("a.parquet", b"PAR0", "a.parquet: not a readable Parquet file"),
        ("a.txt", b"", "a.txt: unknown extension; expected .json, .jsonl, .csv"),
        ("a.gz", b"", "a.gz: unknown extension"),
    ],
)
def test_unreadable_file(tmp_path: Path, name: str, data: bytes, expected: str) -> None:
    assert expected in message(tmp_path / name, data)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"none.json: no such file"):
        list(read_rows(tmp_path / "none.json", WANTED))


@pytest.mark.parametrize(
    ("values", "kind", "reason"),
    [
        (["Q"], "malformed", "found 1 cells, expected a value for each column"),
        ("Q", "malformed", "found a string, expected a value for each column"),
        ({**GOOD, "key": "k", "output": None}, "missing_value", "output: found null"),
        ({"instruction": "Q", "key": "k"}, "missing_value", "output: found no such column in this row"),
        ({**GOOD, "key": "k", "output": 42}, "not_text", "output: found a number"),
        ({**GOOD, "key": "k", "instruction": ["Q"]}, "not_text", "instruction: found an array"),
        ({**GOOD, "key": "k", "input": True}, "not_text", "input: found a boolean"),
        ({**GOOD, "key": "k", "output": "\ud800"}, "not_text", "output: found half a surrogate pair"),
        ({**GOOD, "key": "k", "instruction": " \u00a0\n"}, "empty_question", "instruction: found no visible"),
        ({**GOOD, "key": "k", "output": ""}, "empty_answer", "output: found no visible character"),
        ({**GOOD, "key": " "}, "empty_id", "key: found no visible character"),
        ({**GOOD, "key": 1.5}, "not_text", "key: found a number"),
        (GOOD, "missing_value", "key: found no such column in this row"),
    ],
)
def test_bad_row_is_rejected_and_can_be_written(values: Any, kind: str, reason: str) -> None:
    reject = to_example(RawRow("f.json row 3", values), COLUMNS)
    assert isinstance(reject, Reject)
    assert reject.kind == kind
    assert reason in reject.reason
    record = reject.record()
    assert record.id == "f.json row 3"
    json.dumps(record.model_dump(), ensure_ascii=False, allow_nan=False).encode("utf-8")


def test_context_joins_the_question_as_in_alpaca() -> None:
    def question(context: Any) -> str:
        row = to_example(RawRow("r", {**GOOD, "key": 7, "input": context}), COLUMNS)
        assert isinstance(row, Row)
        assert row.example.id == "7"
        return row.example.question

    assert question("Some text.") == "Q?\nSome text."
    assert question(" ") == question("") == question(None) == "Q?"


def test_same_rows_from_every_kind_of_file(tmp_path: Path) -> None:
    rows = [{"instruction": "Q, 1?", "output": "A\n1"}, {"instruction": "\u00c4?", "output": '"A"'}]
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    cells = 'instruction,output\r\n"Q, 1?","A\n1"\r\n\r\n\u00c4?,"""A"""\r\n'
    (tmp_path / "a.json").write_text(json.dumps(rows, indent=1), encoding="utf-8-sig")
    (tmp_path / "a.jsonl").write_text(lines, encoding="utf-8")
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    (tmp_path / "a.csv").write_text(cells, encoding="utf-8-sig", newline="")
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "a.parquet")
    for name in ("a.json", "a.jsonl", "a.jsonl.gz", "a.csv", "a.parquet"):
        assert [row.values for row in read_rows(tmp_path / name, WANTED)] == rows, name
    # In the CSV the first row fills lines 2 and 3, line 4 is blank: the second row is on line 5.
    assert [row.where for row in read_rows(tmp_path / "a.csv", WANTED)] == ["a.csv line 2", "a.csv line 5"]


def test_csv_row_of_another_width_is_rejected_as_a_row(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("instruction,output\nQ\nQ,A,more\n")
    rows = [to_example(row, Columns(*WANTED)) for row in read_rows(tmp_path / "a.csv", WANTED)]
    assert [row.reason for row in rows if isinstance(row, Reject)] == [
        "found 1 cells, expected a value for each column",
        "found 3 cells, expected a value for each column",
    ]


PAIR = (
    '<Document source="CDC"><Focus>F</Focus><QAPairs>'
    '<QAPair pid="1"><Question qid="1-1" qtype="causes">What causes F ?</Question>'
    "<Answer>A &amp; B.\n\n  - C</Answer></QAPair>"
    '<QAPair pid="2"><Question qid="1-2" qtype="outlook">And then ?</Question><Answer/></QAPair>'
    "</QAPairs></Document>"
)
BOMB = '<!DOCTYPE D [<!ENTITY a "x"><!ENTITY b "&a;&a;">]><D>&b;</D>'
EXTERNAL = '<!DOCTYPE D SYSTEM "file:///etc/hostname"><D/>'


def test_medquad_zip_and_folder_hold_the_same_pairs(tmp_path: Path) -> None:
    folder = tmp_path / "MedQuAD"
    for name in ("2_B/1.xml", "1_A/2.xml"):
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_text(PAIR)
    with zipfile.ZipFile(tmp_path / "m.zip", "w") as archive:
        archive.writestr("__MACOSX/2_B/._1.xml", b"\x00")
        for file in sorted(folder.rglob("*.xml"), reverse=True):
            archive.write(file, file.relative_to(folder).as_posix())
    rows = list(read_medquad(folder))
    assert rows == list(read_medquad(tmp_path / "m.zip"))
    assert [row.where for row in rows[1:3]] == ["1_A/2.xml pair 2", "2_B/1.xml pair 1"]
    assert rows[0].values == {
        "question": "What causes F ?",
        "answer": "A & B.\n\n  - C",
        "source": "CDC",
        "focus": "F",
        "type": "causes",
    }


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (BOMB, "d/x.xml: not readable XML: found a DOCTYPE 'D'"),
        (EXTERNAL, "d/x.xml: not readable XML: found a DOCTYPE 'D'"),
        (PAIR[:-5], "d/x.xml: not readable XML: "),
        ("<html/>", "d/x.xml: found html without QAPairs; expected Document/QAPairs/QAPair"),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_bad_xml_names_the_member(tmp_path: Path, text: str, expected: str, encoding: str) -> None:
    with zipfile.ZipFile(tmp_path / "m.zip", "w") as archive:
        archive.writestr("d/x.xml", text.encode(encoding))
    with pytest.raises(ValueError, match=r"m\.zip: d/x\.xml") as caught:
        list(read_medquad(tmp_path / "m.zip"))
    assert expected in str(caught.value)


def test_broken_zip_names_the_member(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "m.zip", "w") as archive:
        archive.writestr("d/x.xml", PAIR)
    data = (tmp_path / "m.zip").read_bytes()
    (tmp_path / "crc.zip").write_bytes(data.replace(b"What causes", b"What cauzes"))
    with pytest.raises(ValueError, match=r"crc\.zip: d/x\.xml: broken zip file"):
        list(read_medquad(tmp_path / "crc.zip"))
    (tmp_path / "cut.zip").write_bytes(data[:-30])
    with pytest.raises(ValueError, match=r"cut\.zip: broken zip file"):
        list(read_medquad(tmp_path / "cut.zip"))
    with pytest.raises(ValueError, match=r"none: no such file or folder"):
        list(read_medquad(tmp_path / "none"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"empty: holds no \.xml file"):
        list(read_medquad(tmp_path / "empty"))


def test_hub_without_a_revision_is_refused_before_any_request() -> None:
    with pytest.raises(ValueError, match=r"prepare\.hub\.revision is null; expected a commit"):
        list(read_hub("owner/name", revision=None, name=None, split="train", wanted=WANTED))
