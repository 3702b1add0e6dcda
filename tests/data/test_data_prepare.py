"""The whole of data preparation, from parameters to files, on made-up and on real data."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from experiments.catalogue import applied
from knowtuning.config.prepare import PrepareParams
from knowtuning.core.records import Example, Rejected, read_jsonl
from knowtuning.core.storage import digest_folder
from knowtuning.data.prepare import Prepared, prepare, write_prepared
from tests.support.checkout import SHARED
from tests.support.forks import run_stage
from tests.support.params import PARAMS

needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="the data folder beside the checkout is absent")

ALPACA = {"question": "instruction", "context": "input", "answer": "output", "id": None}
CHANGES: dict[str, Any] = {
    "source": "file",
    "split": {"valid": 100, "test": 200},
    "file.columns": ALPACA,
    "world.towns": {"guide": 0, "train": 8, "valid": 2, "test": 2},
    "world.train_general": 4,
    "world.train_specific": 8,
}
BASE: dict[str, Any] = applied(PARAMS["prepare"], CHANGES)


def params(**changes: Any) -> PrepareParams:
    return PrepareParams.model_validate({**BASE, **changes})


def file_params(folder: Path, splits: dict[str, list[Any]], **changes: Any) -> PrepareParams:
    """Parameters of source `file` for rows written as JSON arrays into `folder`."""
    for name, rows in splits.items():
        (folder / f"{name}.json").write_text(json.dumps(rows), encoding="utf-8")
    paths = {n: str(folder / f"{n}.json") if n in splits else None for n in ("train", "valid", "test")}
    return params(file={**paths, "columns": ALPACA}, **changes)


def row(question: Any, answer: Any = "An answer.") -> dict[str, Any]:
    return {"instruction": question, "input": "", "output": answer}


def nonzero(prepared: Prepared, split: str) -> dict[str, float]:
    return {name: value for name, value in prepared.counts()[split].items() if value}


def test_every_row_is_kept_or_has_a_reason(tmp_path: Path) -> None:
    train = [
        row("What is a bee?", "An insect that\r\nmakes  honey."),
        row("  what IS a\u00a0bee? "),  # the same question
        row("Where is Rome?"),  # also in test
        row("Who?", ""),
        row("How many?", 3),
        row("Why?", "Because."),
    ]
    valid = [row("When?"), row("Where is rome?")]
    test = [row("Where is Rome?"), row("And then?")]
    prepared = prepare(file_params(tmp_path, {"train": train, "valid": valid, "test": test}), seed=0)
    # Kept answers: "An insect that makes honey." (5 words) and "Because." (1): 6 / 2 = 3.
    assert nonzero(prepared, "train") == {
        "read": 6,
        "not_text": 1,
        "empty_answer": 1,
        "duplicate": 1,
        "leaked": 1,
        "kept": 2,
        "mean_answer_words": 3.0,
    }
    assert nonzero(prepared, "valid") == {"read": 2, "leaked": 1, "kept": 1, "mean_answer_words": 2.0}
    assert nonzero(prepared, "test") == {"read": 2, "kept": 2, "mean_answer_words": 2.0}
    out = tmp_path / "prepared"
    write_prepared(prepared, out, max_rejected=0.5)
    assert {e.question: e.answer for e in read_jsonl(out / "train.jsonl", Example)} == {
        "What is a bee?": "An insect that\nmakes  honey.",
        "Why?": "Because.",
    }
    assert [(r.id, r.reason) for r in read_jsonl(out / "train.rejected.jsonl", Rejected)] == [
        ("train.json row 2", "duplicate: the question is that of train.json row 1"),
        ("train.json row 3", "leaked: the question is that of test.json row 1 (test)"),
        ("train.json row 4", "empty_answer: output: found no visible character, expected text"),
        ("train.json row 5", "not_text: output: found a number, expected text"),
    ]
    assert sorted((out / "corpus.txt").read_text().splitlines()) == [
        "An insect that makes honey.",
        "Because.",
    ]
    assert json.loads((out / "truth.json").read_text()) == {"towns": {}}


def test_too_many_bad_rows_leave_only_the_reasons(tmp_path: Path) -> None:
    out = tmp_path / "prepared"
    rows = [row(f"Question {n}?") for n in range(9)]
    splits = {"train": [*rows, row("Bad?", None)], "valid": [row("V?")], "test": [row("T?")]}
    prepared = prepare(file_params(tmp_path, splits), seed=0)
    write_prepared(prepared, out, max_rejected=0.1)  # 1 of 10 is not more than 0.1
    with pytest.raises(
        ValueError, match=r"1 of 10 rows were rejected, prepare\.max_rejected allows 0\.09"
    ) as caught:
        write_prepared(prepared, out, max_rejected=0.09)
    # The bad row is the tenth.
    assert "; the first is train.json row 10: missing_value: output: found null" in str(caught.value)
    names = sorted(path.name for path in out.iterdir())
    assert names == ["test.rejected.jsonl", "train.rejected.jsonl", "valid.rejected.jsonl"]


def test_repeated_and_leaked_rows_are_no_fault_but_an_empty_split_is(tmp_path: Path) -> None:
    splits = {"train": [row("T?"), row("T?")], "valid": [row("V?")], "test": [row("t?")]}
    prepared = prepare(file_params(tmp_path, splits), seed=0)
    with pytest.raises(ValueError, match=r"train: none of its 2 rows is left; see the reasons in"):
        write_prepared(prepared, tmp_path / "prepared", max_rejected=0.0)


def test_missing_splits_are_drawn_from_train(tmp_path: Path) -> None:
    rows = [row(f"Question {n}?") for n in range(20)]
    changes: dict[str, Any] = {"split": {"valid": 3, "test": 5}}
    both = prepare(file_params(tmp_path, {"train": rows}, **changes), seed=0)
    assert [nonzero(both, name).get("moved") for name in ("train", "valid", "test")] == [-8, 3, 5]
    questions = [r.example.question for split in both.splits.values() for r in split.rows]
    assert sorted(questions) == sorted(r["instruction"] for r in rows)
    one = prepare(file_params(tmp_path, {"train": rows[:15], "test": rows[15:]}, **changes), seed=0)
    assert [len(one.splits[name].rows) for name in ("train", "valid", "test")] == [12, 3, 5]
    assert {r.example.question for r in one.splits["test"].rows} == {r["instruction"] for r in rows[15:]}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"source": "medquad_xml"}, r"prepare\.medquad_xml\.path is null; expected the path"),
        ({"source": "hub"}, r"prepare\.hub\.id is null; expected the id of a data set"),
        (
            {"source": "hub", "hub": {**BASE["hub"], "id": "owner/name"}},
            r"prepare\.hub\.revision is null; expected a commit",
        ),
    ],
)
def test_a_value_the_source_needs(changes: dict[str, Any], expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        prepare(params(**changes), seed=0)


def test_the_world_brings_its_corpus_and_truth(tmp_path: Path) -> None:
    prepared = prepare(params(source="world"), seed=5)
    write_prepared(prepared, tmp_path, max_rejected=0.0)
    assert (tmp_path / "corpus.txt").read_text().splitlines() == prepared.corpus
    assert json.loads((tmp_path / "truth.json").read_text()) == prepared.truth
    before = digest_folder(tmp_path)
    write_prepared(prepare(params(source="world"), seed=5), tmp_path, max_rejected=0.0)
    assert digest_folder(tmp_path) == before
    # Another source leaves nothing of the world behind.
    splits = {name: [row(f"{name}?")] for name in ("train", "valid", "test")}
    (tmp_path / "in").mkdir()
    write_prepared(prepare(file_params(tmp_path / "in", splits), seed=5), tmp_path, max_rejected=0.0)
    assert json.loads((tmp_path / "truth.json").read_text()) == {"towns": {}}


def test_withheld_answers_are_apart_from_bad_rows(tmp_path: Path) -> None:
    pairs = "".join(
        f"<QAPair><Question>Q {n}?</Question><Answer>{answer}</Answer></QAPair>"
        for n, answer in enumerate(["", " \n", "One.", "Two.", "Three."])
    )
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "1.xml").write_text(f"<Document><QAPairs>{pairs}</QAPairs></Document>")
    medquad = {"path": str(tmp_path / "in"), "types": None}
    split = {"valid": 1, "test": 1}
    prepared = prepare(params(source="medquad_xml", medquad_xml=medquad, split=split), seed=0)
    counts = {"read": 5, "without_answer": 2, "moved": -2, "kept": 1, "mean_answer_words": 1.0}
    assert nonzero(prepared, "train") == counts
    write_prepared(prepared, tmp_path / "out", max_rejected=0.0)
    rejected = read_jsonl(tmp_path / "out" / "train.rejected.jsonl", Rejected)
    assert [r.id for r in rejected] == ["1.xml pair 1", "1.xml pair 2"]


def test_a_local_folder_as_a_hub_data_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    folder = tmp_path / "set"
    folder.mkdir()
    rows = {name: [row(f"{name} {n}?") for n in range(3)] for name in ("train", "validation")}
    for name, part in rows.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in part))
    splits = {"train": "train", "valid": "validation", "test": None}
    hub: dict[str, Any] = {**BASE["hub"], "id": str(folder), "splits": splits}
    prepared = prepare(params(source="hub", hub=hub, split={"valid": 1, "test": 1}), seed=0)
    assert [len(prepared.splits[name].rows) for name in ("train", "valid", "test")] == [2, 3, 1]
    with pytest.raises(ValueError, match=r"no column 'answer'; found 'instruction', 'input', 'output'"):
        prepare(params(source="hub", hub={**hub, "columns": {**ALPACA, "answer": "answer"}}), seed=0)
    with pytest.raises(ValueError, match=r"prepare\.hub: cannot load .* split dev: "):
        prepare(params(source="hub", hub={**hub, "splits": {**splits, "valid": "dev"}}), seed=0)


@needs_shared
def test_dolly_counts() -> None:
    paths = {name: str(SHARED / f"dolly_{name}.json") for name in ("train", "valid", "test")}
    prepared = prepare(params(file={**paths, "columns": ALPACA}), seed=0)
    counts = prepared.counts()
    # Counted apart with a dictionary of lower-cased questions: 113 repeated ones in train, and of the
    # evaluation questions 5 (test) and 6 (valid) also in train: 5 + 6 = 11, 4000 - 113 - 11 = 3876.
    assert [counts["train"][key] for key in ("read", "duplicate", "leaked", "kept")] == [4000, 113, 11, 3876]
    leaked = [r.reason for r in prepared.splits["train"].rejects if r.kind == "leaked"]
    assert sum("(test)" in reason for reason in leaked) == 5
    assert sum("(valid)" in reason for reason in leaked) == 6


@needs_shared
def test_medquad_sample_counts() -> None:
    sample = {"path": str(SHARED / "medquad_xml_sample.zip"), "types": None}
    prepared = prepare(params(source="medquad_xml", medquad_xml=sample), seed=0)
    # 1462 QAPair elements with 1087 distinct questions, counted apart with zipfile and ElementTree:
    # 1462 - 1087 = 375 repeated; 1087 - 100 - 200 drawn = 787.
    train = nonzero(prepared, "train")
    assert {key: train[key] for key in ("read", "duplicate", "moved", "kept")} == {
        "read": 1462,
        "duplicate": 375,
        "moved": -300,
        "kept": 787,
    }
    # Of the paper's type are 343 pairs with 181 distinct questions, counted apart with a regular expression:
    # 1462 - 343 = 1119 of other types, 343 - 181 = 162 repeated, 181 - 20 - 20 drawn = 141.
    only = {**sample, "types": ["information"]}
    prepared = prepare(
        params(source="medquad_xml", medquad_xml=only, split={"valid": 20, "test": 20}), seed=0
    )
    train = nonzero(prepared, "train")
    assert {key: train[key] for key in ("read", "other_type", "duplicate", "kept")} == {
        "read": 1462,
        "other_type": 1119,
        "duplicate": 162,
        "kept": 141,
    }
    assert {row.example.meta["type"] for split in prepared.splits.values() for row in split.rows} == {
        "information"
    }
    with pytest.raises(
        ValueError, match=r"types names 'info', of which there is no pair; expected some of 'cau"
    ):
        prepare(params(source="medquad_xml", medquad_xml={**sample, "types": ["info"]}), seed=0)


def test_marks_for_no_text_are_counted_by_column_and_mark(tmp_path: Path) -> None:
    train = [
        {"instruction": "A?", "input": "<noinput>", "output": "Yes."},
        {"instruction": "B?", "input": "<noinput>", "output": "nan"},
        {"instruction": "C?", "input": "", "output": "nan"},
        {"instruction": "D?", "input": "Text.", "output": "N/A"},
    ]
    splits = {"train": train, "valid": [row("V?")], "test": [row("T?")]}
    prepared = prepare(file_params(tmp_path, splits), seed=0)
    counts = prepared.counts()["train"]
    assert [counts["empty_answer"], counts["kept"]] == [3, 1]
    # A row that is left out counts for what left it out.
    assert counts["counted_as_empty"] == {"input <noinput>": 1, "output N/A": 1, "output nan": 2}
    assert "counted_as_empty" not in prepared.counts()["test"]
    assert [r.example.question for r in prepared.splits["train"].rows] == ["A?"]


def test_further_test_sets_are_kept_out_of_training_with_answers_or_without(tmp_path: Path) -> None:
    splits = {
        "train": [row("Q?"), row("prompt one?"), row("What?"), row("V?")],
        "valid": [row("V?"), row("Prompt two?")],
        "test": [row("T?"), row("What?")],
    }
    prompts = [{"instruction": "Prompt one?"}, row("Prompt two?", ""), row("T?", "Answered."), row("", "A.")]
    (tmp_path / "lima.json").write_text(json.dumps(prompts))
    (tmp_path / "chat.jsonl").write_text(json.dumps({"messages": [{"role": "user", "content": "Hi?"}]}))
    tests = {"lima": str(tmp_path / "lima.json"), "chat": str(tmp_path / "chat.jsonl")}
    prepared = prepare(file_params(tmp_path, splits, tests=tests), seed=0)
    out = tmp_path / "out"
    write_prepared(prepared, out, max_rejected=0.5)
    assert {e.question: e.answer for e in read_jsonl(out / "tests/lima.jsonl", Example)} == {
        "Prompt one?": "",
        "Prompt two?": "",
        "T?": "Answered.",  # two test sets may ask the same
    }
    assert [e.question for e in read_jsonl(out / "tests/chat.jsonl", Example)] == ["Hi?"]
    assert [r.reason for r in read_jsonl(out / "tests/lima.rejected.jsonl", Rejected)] == [
        "empty_question: instruction: found no visible character, expected text"
    ]
    assert [r.example.question for r in prepared.splits["train"].rows] == ["Q?"]
    assert [r.example.question for r in prepared.splits["valid"].rows] == ["V?"]
    reasons = [r.reason for r in prepared.splits["train"].rejects]
    assert "the question is that of lima.json row 1 (tests.lima)" in reasons
    assert nonzero(prepared, "tests.lima") == {
        "read": 4,
        "empty_question": 1,
        "kept": 3,
        "mean_answer_words": 0.333,
    }
    # The test set itself, whose references are compared with, takes no question without one.
    splits["test"].append(row("U?", ""))
    with pytest.raises(ValueError, match=r"1 of 3 rows were rejected.*reference answer go to prepare\.tests"):
        write_prepared(prepare(file_params(tmp_path, splits, tests=tests), seed=0), out, max_rejected=0.0)
    # A set that is gone from params leaves no file.
    write_prepared(prepare(file_params(tmp_path, splits), seed=0), out, max_rejected=0.5)
    assert not list(out.glob("tests/*"))


@pytest.mark.parametrize("name", ["", "../x", "a b", ".hidden", "a/b"])
def test_the_name_of_a_test_set_is_that_of_a_file(name: str) -> None:
    with pytest.raises(ValueError, match=r"tests"):
        params(tests={name: "data/raw/x.json"})


def test_boilerplate_is_reported_and_left_out_by_name(tmp_path: Path) -> None:
    links = "These resources address the management of {}:\n- Gene Review\n- Genetic Testing Registry"
    rows = [
        *(row(f"What is {n}?", f"{n} is a disease of its own kind, says book {n}.") for n in range(20)),
        *(row(f"Where to read about {n}?", links.format(n)) for n in range(5)),
    ]
    split = {"valid": 2, "test": 2}
    kept = prepare(file_params(tmp_path, {"train": rows}, split=split), seed=0)
    counts = kept.counts()
    assert sum(counts[name]["link_list"] for name in counts) == 5
    assert sum(counts[name]["shared_opening"] for name in counts) == 5
    assert kept.metrics()["boilerplate"]["shared_opening"] == [
        {
            "opening": "These resources address the management of",
            "answers": 5,
            "where": min(
                r.where for s in kept.splits.values() for r in s.rows if "resources" in r.example.answer
            ),
        }
    ]
    assert any("answers are boilerplate of the kind link_list" in note for note in kept.notes)
    less = prepare(file_params(tmp_path, {"train": rows}, split=split, drop=["link_list"]), seed=0)
    assert nonzero(less, "train") == {
        "read": 25,
        "dropped": 5,
        "moved": -4,
        "kept": 16,
        "mean_answer_words": 11.0,
    }
    assert less.notes == []
    write_prepared(less, tmp_path / "out", max_rejected=0.0)  # what is asked for is no fault
    reasons = [r.reason for r in read_jsonl(tmp_path / "out/train.rejected.jsonl", Rejected)]
    assert len(reasons) == 5
    assert reasons[0].startswith("dropped: link_list: 'These resources address the management of 0: - Gene")
    with pytest.raises(ValueError, match=r"some of link_list, shared_opening, each once"):
        params(drop=["links"])


def test_long_answers_are_left_out_of_every_split(tmp_path: Path) -> None:
    long = "One, two three-four five."  # five words, for a hyphen parts them
    rows = [row("A?", "One two three four."), row("B?", long), row("C?", "\u4e00\u4e8c\u4e09\u56db\u4e94")]
    splits = {"train": rows, "valid": [row("V?"), row("W?", long)], "test": [row("T?")]}
    prepared = prepare(file_params(tmp_path, splits, max_words=4), seed=0)
    assert [row.example.question for row in prepared.splits["train"].rows] == ["A?"]
    assert [prepared.counts()[name]["too_long"] for name in ("train", "valid", "test")] == [2, 1, 0]
    reasons = [reject.reason for reject in prepared.splits["train"].rejects]
    assert reasons == ["the answer has 5 words, more than prepare.max_words, 4"] * 2
    write_prepared(prepared, tmp_path / "out", max_rejected=0.0)  # what is asked for is no fault


def stage_section(folder: Path, splits: dict[str, list[Any]]) -> dict[str, Any]:
    """The section `prepare` for rows that are written into data/raw of `folder`."""
    raw = folder / "data/raw"
    raw.mkdir(parents=True)
    section = file_params(raw, splits).model_dump()
    section["file"] |= {name: f"data/raw/{name}.json" for name in splits}
    return section


def run_prepare(
    folder: Path, section: dict[str, Any], backend: str = "english"
) -> subprocess.CompletedProcess[str]:
    """Run the stage in `folder`."""
    # JSON is YAML, too.
    settings = {"seed": 1, "prepare": section, "teacher": {"backend": backend}}
    (folder / "params.yaml").write_text(json.dumps(settings))
    return run_stage(folder, "prepare")


def test_the_stage_writes_files_and_counts(tmp_path: Path) -> None:
    names = ("train", "valid", "test")
    done = run_prepare(tmp_path, stage_section(tmp_path, {name: [row(f"{name}?")] for name in names}))
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "                       train     valid      test",
        "read                       1         1         1",
        "kept                       1         1         1",
        "mean_answer_words          2         2         2",
    ]
    assert json.loads((tmp_path / "metrics" / "data.json").read_text())["valid"]["kept"] == 1
    assert {path.name for path in (tmp_path / "data" / "prepared").iterdir()} == {
        *("corpus.txt", "truth.json"),
        *(f"{name}{end}" for name in names for end in (".jsonl", ".rejected.jsonl")),
    }


def test_columns_that_nobody_reads_are_named(tmp_path: Path) -> None:
    chats = [{"messages": [{"role": "user", "content": "V?"}, {"role": "assistant", "content": "A."}]}]
    train = [
        {**row("Q?"), "history": [["a", "b"]], "system": "S."},
        {**row("R?", "\x1b[0m<br>"), "history": []},
        row("r?", "Another answer."),
    ]
    section = stage_section(tmp_path, {"train": train, "valid": chats, "test": [row("T?")]})
    done = run_prepare(tmp_path, section)
    notes = [
        "data/raw/train.json: columns that are not used (with how many of 3 rows fill them): 'history' (1), "
        "'system' (1)",
        "data/raw/train.json: 1 of 3 rows hold control characters, which are kept",
        "data/raw/train.json: 1 of 3 rows hold HTML, which are kept",
        "data/raw/valid.json: 1 of 1 rows are conversations: the last user turn with what came before it is "
        "the question",
        "train: 1 rows repeat a question with another answer; the first of each stays",
    ]
    assert done.stderr.splitlines() == [f"note: {note}" for note in notes]
    assert json.loads((tmp_path / "metrics/data.json").read_text())["notes"] == notes


UNWATCHED = (
    "error: params.yaml: prepare.file.train is {!r}, where DVC would not see a change; expected a path "
    "inside data/raw/: move it there (or `cp -rl`, which takes no space)\n"
)


@pytest.mark.parametrize(
    ("changes", "backend", "complaint"),
    [
        *(
            ({"file.train": path}, "english", UNWATCHED.format(path))
            for path in ("mine/train.json", "../train.json", "data/raw/../train.json", "/etc/x.json")
        ),
        (
            {"source": "world", "tests": {"lima": "mine/lima.json"}},
            "english",
            "error: params.yaml: prepare.tests.lima is 'mine/lima.json', where DVC would not see a change",
        ),
        # Before anything is made: extract would find out.
        (
            {},
            "world",
            "error: params.yaml: teacher.backend is 'world', which reads the data of prepare.source world "
            "alone, and prepare.source is 'file'; set teacher.backend to english (rules, no key) or openai\n",
        ),
        (
            {},
            "english",
            "error: prepare.file.train is null; expected the path of the training rows, which prepare.source "
            "needs\n",
        ),
    ],
)
def test_the_stage_refuses_in_one_line(
    tmp_path: Path, changes: dict[str, Any], backend: str, complaint: str
) -> None:
    done = run_prepare(tmp_path, applied(BASE, changes), backend)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert done.stderr.startswith(complaint)
    assert not (tmp_path / "data/prepared").exists()


def test_a_folder_linked_into_data_raw_is_refused_and_a_linked_file_is_not(tmp_path: Path) -> None:
    # DVC hashes what a linked file holds, and does not look into linked folders.
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/train.json").write_text(json.dumps([row(f"{n}?") for n in range(9)]))
    raw = tmp_path / "data/raw"
    raw.mkdir(parents=True)
    (raw / "folder").symlink_to(tmp_path / "mine")
    (raw / "file.json").symlink_to(tmp_path / "mine/train.json")

    def complaint(path: str) -> str:
        changes = {"split.valid": 1, "split.test": 1, "file.train": path}
        return run_prepare(tmp_path, applied(BASE, changes)).stderr

    folder = "data/raw/folder is a link to a folder, which DVC does not follow"
    assert folder in complaint("data/raw/folder/train.json")
    assert complaint("data/raw/file.json") == ""


def test_rows_that_are_all_unusable_are_named_before_there_are_too_few_to_draw(tmp_path: Path) -> None:
    # Without the fault, "0 usable rows" would send the reader to prepare.split.
    splits = {"train": [row("Q?", None), row("R?", None)]}
    gone = r"\(left out of 2: 2 missing_value\); the first is train\.json row 1: output: found null"
    with pytest.raises(ValueError, match=gone):
        prepare(file_params(tmp_path, splits), seed=0)
    # As where train and valid name one file.
    splits = {"train": [row("Q?"), row("R?")], "valid": [row("Q?"), row("R?")]}
    with pytest.raises(ValueError, match=r"draw from \(left out of 2: 2 leaked\); the first is train\.json"):
        prepare(file_params(tmp_path, splits), seed=0)
