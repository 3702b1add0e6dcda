"""Bad input: each fault gives one line with the file, the place and what was expected."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from knowtuning.data.examples import Columns, Reject, SourceRow, to_example
from knowtuning.data.medquad import read_medquad, unwrap
from knowtuning.data.readers import RawRow, read_rows

WANTED = ["instruction", "output"]
GOOD = {"instruction": "Q?", "output": "A."}
COLUMNS = Columns("instruction", "output", context="input", id="key")


def message(path: Path, data: bytes) -> str:
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r".") as caught:
        list(read_rows(path, WANTED))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def packed(value: Any) -> bytes:
    return json.dumps(value).encode()


# Name, bytes, and the parts of the message: where and what, and the way out.
UNREADABLE: list[tuple[str, bytes, str]] = [
    ("a.json", b'[\n{"instruction": "Q"},\n{"instruction" "Q"}]', "a.json:3: not JSON: Expecting ':'"),
    ("a.json", b"", "a.json:1: not JSON"),
    ("a.json", b"[]", "a.json: the file holds no row; expected at least one"),
    ("a.jsonl", b"", "a.jsonl: the file holds no row; expected at least one"),
    ("a.csv", b"instruction,output\n", "a.csv: the file holds no row; expected at least one"),
    ("a.jsonl", b'{"instruction": "Q', "a.jsonl:1: not JSON: Unterminated string starting at column 17"),
    ("a.json", b'[{"instruction": NaN}]', "a.json:1: not JSON: NaN is not a JSON value … write null"),
    ("a.json", b"[" * 200_000, "a.json:1: not JSON: maximum recursion depth"),
    ("a.jsonl", b'{"instruction": "Q", "output": "A"}\n\n{"instr', "a.jsonl:3: not JSON"),
    # The header line has 19 bytes and "Caf" 3: the e acute of Latin-1 (0xe9) is at 19 + 3 = 22.
    ("a.csv", b"instruction,output\nCaf\xe9,A\n", "a.csv:2: not UTF-8 at byte offset 22 (found 0xe9)"),
    ("a.json", "[]".encode("utf-16"), "a.json:1: not UTF-8 at byte offset 0 (found 0xff)"),
    ("a.json", b"\xef\xbb\xbf[\xff", "a.json:1: not UTF-8 at byte offset 4 (found 0xff)"),
    ("a.json", packed([{"instruction": "Q", "answer": "A"}]), "no column 'output'; found 'instruction'"),
    ("a.csv", b"instruction,answer\nQ,A\n", "no column 'output'; found 'instruction', 'answer'"),
    ("a.csv", b"output,output\nQ,A\n", "a.csv:1: column 'output' occurs twice"),
    (
        "a.csv",
        b'instruction,output\nP,A\nQ,"A\nR,A\nS,A\n',
        "a.csv:5: not CSV: unexpected end of data, in the row that begins on line 3; expected",
    ),
    # Another line in the place of the header.
    ("a.csv", b"# of the clinic\ninstruction,output\nQ,A\n", "a.csv:1: no column 'instruction'; found '#"),
    ("a.csv", b"\n\ninstruction, answer\nQ,A\n", "a.csv:3: no column 'output'; found 'instruction'"),
    ("a.jsonl", b'{"output": "A", "output": "B"}', "a.jsonl:1: not JSON: an object has the key"),
    ("a.json", b'[{"output": ["A"], "output": ["B"]}]', "twice, with ['A'] and ['B']; expected distinct"),
    ("a.jsonl", b'{"output": "Q"},\n', "a.jsonl:1: not JSON: Extra data at column 16; expected one object a"),
    ("a.jsonl.gz", gzip.compress(b'{"a": "Q"}\n', mtime=0)[:-6], "a.jsonl.gz: broken gzip file"),
    ("a.parquet", b"PAR0", "a.parquet: not a readable Parquet file"),
    ("a.txt", b"", "a.txt: unknown extension; expected .json, .jsonl, .csv"),
    ("a.gz", b"", "a.gz: unknown extension"),
    # A file is named by what it is.
    ("a.json", gzip.compress(b"[]"), "holds gzip bytes, expected a JSON array … rename it to a.json.gz"),
    ("a.csv", gzip.compress(b"x"), "holds gzip bytes, expected CSV … rename it to a.csv.gz"),
    ("a.jsonl.gz", gzip.compress(gzip.compress(b"{}")), "holds gzip bytes … unpack it and pack the file"),
    ("a.jsonl.gz", packed(GOOD), "broken gzip file (its bytes are not those of gzip) … rename it to a.jsonl"),
    ("a.jsonl", b"PAR1\x15\x04", "holds a Parquet file, expected JSONL … rename it to a.parquet"),
    ("a.parquet", packed([GOOD]), "holds JSON, expected Parquet … rename it to a.json"),
    ("a.csv", b"PK\x03\x04\x14", "holds a zip file or an Excel workbook … save the sheet as CSV"),
    ("a.csv", packed([GOOD]), "holds JSON, expected CSV … rename it to a.json"),
    ("a.jsonl", b"instruction,output\nQ,A\n", "holds CSV, expected JSONL … rename it to a.csv"),
    ("a.json", b'"instruction","output"\nQ,A\n', "holds CSV, expected a JSON array … rename it to a.csv"),
    ("a.csv.gz", gzip.compress(packed(GOOD)), "holds JSON, expected CSV … rename it to a.jsonl.gz"),
    ("a.json", b"\x28\xb5\x2f\xfd\x00", "holds zstandard bytes … unpack it with unzstd"),
    ("a.jsonl", b"\n<!DOCTYPE html><html>", "holds a web page, expected JSONL … fetch the file itself again"),
    ("a.json", b"version https://git-lfs.github.com/spec/v1\noid", "a Git LFS pointer … git lfs pull"),
    ("a.json", "[]  ".encode("utf-16-le"), "a.json:1: not UTF-8: it looks like UTF-16 … convert the file"),
    ("a.csv", "q,a\n".encode("utf-16"), "it looks like UTF-16 … convert the file to UTF-8"),
    # JSON in another shape than rows, and where its rows may be.
    ("a.json", b"{}\n{}", "one object a line, which is JSONL … rename it to a.jsonl"),
    ("a.jsonl", packed([GOOD, GOOD]), "holds JSON over several rows or lines … rename it to a.json"),
    ("a.jsonl", b"[\n {}\n]", "JSON over several rows or lines … rename it to a.json"),
    ("a.json", packed(GOOD), "a.json: found an object, expected an array … name the file a.jsonl"),
    (
        "a.json",
        packed({"version": 1, "data": [GOOD, GOOD]}),
        "an array of rows; rows seem to be under 'data' (2) … json.load(sys.stdin)['data']",
    ),
    (
        "a.json",
        packed({"meta": {}, "body": {"rows": [GOOD]}, "more": [GOOD]}),
        "rows seem to be under 'body.rows' (1), 'more' (1) … json.load(sys.stdin)['body']['rows']",
    ),
    ("a.json", packed({"instruction": {"0": "Q"}, "output": {"0": "A"}}), "the columns … orient='records'"),
    ("a.json", packed({"x": GOOD, "y": GOOD}), "rows seem to be the values of its 2 keys … make an array"),
    ("a.json", b'{"Q?": "A.", "R?": "B."}', "its 2 keys ('Q?', 'R?') are no columns … make each row"),
    # Separators, line ends and kinds that are not read.
    ("a.csv", b"instruction;output\nQ, one;A\n", "seems to be ';', expected a comma … sep=';'"),
    ("a.csv", b'"instruction";"output"\n"Q";"A"\n', "seems to be ';' … save the file with commas"),
    ("a.csv", b"\xef\xbb\xbfinstruction\toutput\nQ\tA\n", "the separator seems to be a tab … with commas"),
    ("a.csv", b"sep=;\ninstruction;output\nQ;A\n", "found 'sep=;', a line for Excel … remove it"),
    ("a.csv", b"instruction|output\nQ|A\n", "the separator seems to be '|' … with commas"),
    ("a.csv", b"instruction,output\rQ,A\r", "a.csv:1: lines end in CR alone, expected LF … tr '\\r' '\\n'"),
    ("a.ndjson", packed(GOOD), "unknown extension … rename it to a.jsonl"),
    ("a.tsv", b"instruction\toutput\n", "unknown extension … save it with commas as a.csv"),
    ("a.xlsx", b"PK\x03\x04", "unknown extension … save the sheet as CSV in UTF-8"),
]


@pytest.mark.parametrize(("name", "data", "parts"), UNREADABLE)
def test_an_unreadable_file_is_named_by_what_it_is_with_the_way_out(
    tmp_path: Path, name: str, data: bytes, parts: str
) -> None:
    output = message(tmp_path / name, data)
    assert all(part in output for part in parts.split(" … ")), output


def test_the_way_out_of_an_object_works(tmp_path: Path) -> None:
    output = message(tmp_path / "a.json", packed({"version": 1, "data": [GOOD]}))
    command = output[output.index("python -c") :].replace("python", sys.executable, 1)
    subprocess.run(["sh", "-c", command], cwd=tmp_path, check=True)
    assert [row.values for row in read_rows(tmp_path / "rows.json", WANTED)] == [GOOD]


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"none.json: no such file"):
        list(read_rows(tmp_path / "none.json", WANTED))


def test_a_column_that_parquet_holds_twice_is_refused(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    texts = [pyarrow.array([text]) for text in ("Q", "A", "B")]
    table = pyarrow.Table.from_arrays(texts, names=["instruction", "output", "output"])
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(
        ValueError, match=r"a\.parquet: column 'output' occurs twice; expected distinct names"
    ):
        list(read_rows(tmp_path / "a.parquet", WANTED))


WITH_KEY = {**GOOD, "key": "k"}


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (["Q"], "malformed: found 1 cells, expected a value for each column"),
        ("Q", "malformed: found a string, expected a value for each column"),
        ({**WITH_KEY, "output": None}, "missing_value: output: found null"),
        ({"instruction": "Q", "key": "k"}, "missing_value: output: found no such column in this row"),
        ({**WITH_KEY, "output": 42}, "not_text: output: found a number"),
        ({**WITH_KEY, "instruction": ["Q"]}, "not_text: instruction: found an array"),
        ({**WITH_KEY, "input": True}, "not_text: input: found a boolean"),
        ({**WITH_KEY, "output": "\ud800"}, "not_text: output: found half a surrogate pair"),
        ({**WITH_KEY, "instruction": " \u00a0\n"}, "empty_question: instruction: found no visible"),
        ({**WITH_KEY, "output": ""}, "empty_answer: output: found no visible character"),
        ({**WITH_KEY, "output": "nan"}, "empty_answer: output: found 'nan', which stands for no text"),
        ({**WITH_KEY, "output": " <nooutput>\n"}, "empty_answer: output: found '<nooutput>'"),
        ({**WITH_KEY, "output": float("nan")}, "missing_value: output: found NaN"),
        ({**WITH_KEY, "instruction": "N/A"}, "empty_question: instruction: found 'N/A'"),
        ({**GOOD, "key": "nan"}, "empty_id: key: found 'nan'"),
        ({**GOOD, "key": " "}, "empty_id: key: found no visible character"),
        ({**GOOD, "key": 1.5}, "not_text: key: found a number"),
        (GOOD, "missing_value: key: found no such column in this row"),
    ],
)
def test_bad_row_is_rejected_and_can_be_written(values: Any, reason: str) -> None:
    reject = to_example(RawRow("f.json row 3", values), COLUMNS)
    assert isinstance(reject, Reject)
    record = reject.record()
    assert reason in record.reason
    assert record.id == "f.json row 3"
    json.dumps(record.model_dump(), ensure_ascii=False, allow_nan=False).encode("utf-8")


def test_a_key_that_is_repeated_with_its_value_loses_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"output": "A", "instruction": "Q", "output": "A"}')
    assert [row.values for row in read_rows(tmp_path / "a.jsonl", WANTED)] == [
        {"instruction": "Q", "output": "A"}
    ]


def test_context_joins_the_question_as_in_alpaca() -> None:
    def question(context: Any) -> str:
        row = to_example(RawRow("r", {**GOOD, "key": 7, "input": context}), COLUMNS)
        assert isinstance(row, SourceRow)
        assert row.example.id == "7"
        return row.example.question

    assert question("Some text.") == "Q?\nSome text."
    assert question("    x = 1\n    y = 2") == "Q?\n    x = 1\n    y = 2"
    for nothing in (" ", "", None, "<noinput>", "N/A", "nan", float("nan"), "\u200b"):
        assert question(nothing) == "Q?"


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
    (tmp_path / "B.JSONL").write_text(lines, encoding="utf-8")  # capital letters do not count
    for name in ("a.json", "a.jsonl", "a.jsonl.gz", "a.csv", "a.parquet", "B.JSONL"):
        assert [row.values for row in read_rows(tmp_path / name, WANTED)] == rows, name
    # In the CSV the first row fills lines 2 and 3, line 4 is blank: the second row is on line 5.
    assert [row.where for row in read_rows(tmp_path / "a.csv", WANTED)] == ["a.csv line 2", "a.csv line 5"]


def test_a_blank_behind_a_comma_is_no_part_of_a_cell(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('instruction, output\nQ?, "A, b."\n"R?", "\n  C."\n')
    rows = [row.values for row in read_rows(tmp_path / "a.csv", WANTED)]
    assert rows == [{"instruction": "Q?", "output": "A, b."}, {"instruction": "R?", "output": "\n  C."}]


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
    "<Answer>A &amp; B.\n\n  - C  - D</Answer></QAPair>"
    '<QAPair pid="2"><Question qid="1-2" qtype="outlook">And then ?</Question><Answer/></QAPair>'
    "</QAPairs></Document>"
)


def test_the_layout_of_an_answer_is_not_that_of_the_xml() -> None:
    xml = (
        "Causes are:\n                \n- genes  - age\n                \n                \nAn unknown\n"
        "    cause is possible.   Others\n   may be:  - diet    - smoke\n  -  \n  noise\nIn Children\nRare."
    )
    # By the rules of the module: items behind two spaces begin lines, "cause" goes on "An unknown", "may"
    # on "Others", the bare mark takes "noise"; a heading before a capital letter stays a line.
    expected = (
        "Causes are:\n\n- genes\n- age\n\nAn unknown cause is possible. Others may be:\n- diet\n- smoke\n"
        "- noise\nIn Children\nRare."
    )
    assert unwrap(xml) == unwrap(unwrap(xml)) == expected


def test_medquad_has_four_documents_of_another_form(tmp_path: Path) -> None:
    (tmp_path / "1.xml").write_text(
        '<doc docid="7" corpus="NINDS"><doctitle-focus>F</doctitle-focus><qaPairs><pair pid="1">'
        '<question qid="7-1" qtype="outlook">what  then ?</question><answer>Rest.</answer>'
        "</pair></qaPairs></doc>"
    )
    expected = {
        "question": "what then ?",
        "answer": "Rest.",
        "source": "NINDS",
        "focus": "F",
        "type": "outlook",
    }
    assert [row.values for row in read_medquad(tmp_path)] == [expected]


def test_nested_lists_of_an_answer_keep_their_nesting() -> None:
    xml = (
        "At risk:\n     - at night\n      \n       - sleep inside\n       - use\n  a net\n"
        "     - by day  - B\nEnd."
    )
    # Two spaces for every list around an item, whatever the XML has; a line of text ends all lists.
    expected = "At risk:\n- at night\n\n  - sleep inside\n  - use a net\n- by day\n- B\nEnd."
    assert unwrap(xml) == unwrap(unwrap(xml)) == expected
    assert unwrap("- a\nText.\n   - b") == "- a\nText.\n- b"


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
        "answer": "A & B.\n\n- C\n- D",
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
