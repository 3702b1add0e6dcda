"""Training data in other trainers' formats: written as they describe them, and read again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from knowtuning.core.records import Example, Pair, Rejected, Rewrite, read_jsonl, write_jsonl
from knowtuning.exchange.exporting import exported
from knowtuning.exchange.formats import FORMATS
from knowtuning.systems import SYSTEMS
from tests.support.forks import run_module
from tests.support.records import preference_pair

# Texts that a careless format would change: lines, indentation, quotes, roles, other scripts, equal rewrites.
CODE = "Like this:\n\n    def f():\n\treturn '\"'\n\nThat is all."
TRAIN = [
    Example(id="a", question="What is dew?\nIn one word.", answer="Water."),
    Example(id="b", question="How is f written?", answer=CODE),
]
REWRITES = [
    Rewrite(id="a-ka", source="a", question="Was ist Tau — 露?", answer="Wasser.", facts=["Wasser."]),
    Rewrite(id="b-ka", source="b", question="Was ist Tau — 露?", answer="Wasser.", facts=[]),
]
PAIRS = [
    preference_pair("Water.", "User: Sand.", question=TRAIN[0].question),
    preference_pair(
        CODE, CODE[::-1], source="b", aspect="logicality", question=TRAIN[1].question, id="b-order"
    ),
]
TEST = [Example(id="t", question="Why is the sky blue?", answer="Light is scattered.")]
FURTHER = [Example(id="n", question="who wrote ulysses", answer="")]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    rows: dict[str, list[Any]] = {
        "prepared/train": TRAIN,
        "prepared/test": TEST,
        "prepared/tests/nq": FURTHER,
        "knowledge/rewrites": REWRITES,
        "knowledge/pairs": PAIRS,
    }
    for name, records in rows.items():
        write_jsonl(tmp_path / f"data/{name}.jsonl", records)
    rejected = Rejected(id="x", reason="empty_answer: none", raw=None)
    write_jsonl(tmp_path / "data/prepared/tests/nq.rejected.jsonl", [rejected])
    (tmp_path / "params.yaml").touch()
    return tmp_path


def exchange(project: Path, *words: str, status: int = 0) -> tuple[str, str]:
    """What the command prints: stdout and stderr."""
    done = run_module(project, "knowtuning.exchange", *words)
    assert done.returncode == status, done.stderr
    return done.stdout, done.stderr


def error(project: Path, *words: str) -> str:
    """The last line that a failing command writes."""
    line = exchange(project, *words, status=1)[1].splitlines()[-1]
    assert line.startswith("error: ")
    return line


@pytest.mark.parametrize("name", FORMATS)
def test_what_was_exported_comes_back(project: Path, name: str) -> None:
    ending = "json" if name.startswith("llama") else "jsonl"
    for what, count in (("ka", 4), ("kc", 2)):
        file = f"{what}.{ending}"
        output = exchange(project, "export", "--format", name, "--what", what, "--out", file)[0]
        assert output == f"{file}: {count} rows\n"
        exchange(project, "import", file, "--format", name, "--what", what, "--out", f"{what}.back.jsonl")
    # The file has no place for the facts of a rewrite; what is trained on is all there.
    wanted = [rewrite.model_copy(update={"facts": []}) for rewrite in REWRITES]
    assert read_jsonl(project / "ka.back.jsonl", Rewrite) == wanted
    assert read_jsonl(project / "kc.back.jsonl", Pair) == PAIRS
    left = read_jsonl(project / "ka.back.rejected.jsonl", Rejected)
    assert [(row.reason, row.left_out) for row in left] == [
        ("original: the training row a as it is", True),
        ("original: the training row b as it is", True),
    ]


def test_rows_are_as_the_trainers_describe_them(project: Path) -> None:
    def rows(name: str) -> tuple[dict[str, Any], dict[str, Any]]:
        result = [exported(SYSTEMS[what], FORMATS[name], root=project)[0] for what in ("sft", "kc")]
        for row in result:
            assert (row.pop("id"), row.pop("source"), row.pop("aspect", None))[1] == "a"
        return result[0], result[1]

    asked = "What is dew?\nIn one word."
    alpaca = {"instruction": asked, "input": "", "output": "Water."}
    user = {"role": "user", "content": asked}
    water, sand = ({"role": "assistant", "content": text} for text in ("Water.", "User: Sand."))
    assert rows("llama-factory") == (
        alpaca,
        {"instruction": asked, "input": "", "chosen": "Water.", "rejected": "User: Sand."},
    )
    assert rows("llama-factory-old") == (
        alpaca,
        {"instruction": asked, "input": "", "output": ["Water.", "User: Sand."]},
    )
    assert rows("trl") == (
        {"prompt": [user], "completion": [water]},
        {"prompt": [user], "chosen": [water], "rejected": [sand]},
    )
    assert rows("axolotl") == (
        {"messages": [user, water]},
        {"messages": [user], "chosen": water, "rejected": sand},
    )


def pair(question: Any, output: Any, context: Any = "") -> dict[str, Any]:
    return {"instruction": question, "input": context, "output": output}


def test_a_released_file_of_pairs(project: Path) -> None:
    rows = [
        pair("how is  F written?", ["Good.", "Bad."]),  # b's question but for case and space
        pair("What is rain?", ["Drops.", "Sand."], context="In one word."),
        pair("What is rain?", ["Drops."]),
        pair("What is rain?", "Drops."),
        pair("What is rain?", ["Drops.", 3]),
        pair("What is rain?", ["Drops.", " "]),
        pair("What is rain?", ["Drops.", "Drops. "]),
        ["What is rain?"],
        {"instruction": "What is rain?"},
        pair("What is rain?", ["Drops.", "Sand."], context="In one word."),
        pair("why is the sky BLUE?", ["Scattering.", "Paint."]),
        pair("Who wrote Ulysses", ["Joyce.", "Homer."]),
        {**pair("What is hail?", ["Ice.", "Fire."]), "history": [["Hi", "Hello"]]},
    ]
    (project / "KC.json").write_text(json.dumps(rows))
    words = ("import", "KC.json", "--what", "kc", "--out", "out/pairs.jsonl")
    out, err = exchange(project, *words, "--max-rejected", "0.6")
    assert err.splitlines() == [
        "KC.json row 3: malformed: output: found 1 entries, expected an array of 2",
        "KC.json row 4: malformed: output: found a string, expected an array of 2",
        "KC.json row 5: not_text: output[1]: found a number, expected text",
        "KC.json row 6: empty_answer: output[1]: found no visible character, expected text",
        "KC.json row 7: malformed: output[0] and output[1] are the same, expected two answers",
        "KC.json row 8: malformed: row: found an array, expected instruction, input, output",
        "KC.json row 9: malformed: output: not there; found instruction",
    ]
    assert out.splitlines() == [
        "out/pairs.jsonl: 3 of 13 rows; left out: 0 original, 2 leaked, 1 duplicate, 7 faulty",
        "KC.json: columns that are not used (with how many rows fill them): 'history' (1)",
    ]
    pairs = {row.question: row for row in read_jsonl(project / "out/pairs.jsonl", Pair)}
    assert pairs["how is  F written?"].source == "b"
    assert (pairs["What is rain?\nIn one word."].chosen, pairs["What is hail?"].rejected) == (
        "Drops.",
        "Fire.",
    )
    assert {row.aspect for row in pairs.values()} == {"imported"}
    left = {row.id: row.reason for row in read_jsonl(project / "out/pairs.rejected.jsonl", Rejected)}
    assert len(left) == 10
    assert left["KC.json row 10"] == "duplicate: the same as KC.json row 2"
    assert left["KC.json row 11"] == "leaked: the question is that of t (test)"
    assert left["KC.json row 12"] == "leaked: the question is that of n (nq)"
    # Seven of thirteen are more than one in a hundred; nothing is written then but the reasons.
    (project / "out/pairs.jsonl").unlink()
    assert error(project, *words) == (
        "error: 7 of 13 rows were rejected, --max-rejected allows 0.01 of them; see the reasons in "
        "out/pairs.rejected.jsonl, mend the rows or raise --max-rejected; the first is KC.json row 3: "
        "malformed: output: found 1 entries, expected an array of 2"
    )
    assert not (project / "out/pairs.jsonl").exists()


def test_trl_takes_the_pairs(project: Path, tiny_base: Path) -> None:
    datasets = pytest.importorskip("datasets")
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import DPOConfig, DPOTrainer
    from trl.data_utils import is_conversational

    exchange(project, "export", "--format", "trl", "--what", "kc", "--out", "kc.jsonl")
    rows = datasets.Dataset.from_list([json.loads(line) for line in (project / "kc.jsonl").open()])
    assert all(map(is_conversational, rows))
    tokenizer = AutoTokenizer.from_pretrained(tiny_base)
    tokenizer.chat_template = (
        "{% for m in messages %}{{ m.role }}: {{ m.content }}{{ eos_token }}{% endfor %}"
        "{% if add_generation_prompt %}assistant: {% endif %}"
    )
    config = DPOConfig(str(project / "dpo"), report_to="none", use_cpu=True, bf16=False, max_length=None)
    model = AutoModelForCausalLM.from_pretrained(tiny_base)
    trainer = DPOTrainer(model, args=config, train_dataset=rows, processing_class=tokenizer)
    assert len(trainer.train_dataset) == 2
    first = trainer.train_dataset[0]
    texts = [tokenizer.decode(first[f"{side}_ids"]) for side in ("prompt", "chosen", "rejected")]
    end = tokenizer.eos_token
    assert texts == [f"user: What is dew?\nIn one word.{end}assistant: ", f"Water.{end}", f"User: Sand.{end}"]


def test_errors_are_one_line(project: Path) -> None:
    out = ("--out", "x.jsonl")
    assert error(project, "export", "--format", "verl", "--what", "kc", *out) == (
        "error: --format is 'verl'; expected one of llama-factory, llama-factory-old, trl, axolotl"
    )
    assert error(project, "export", "--format", "trl", "--what", "base", *out).startswith(
        "error: --what is 'base'; expected one of sft, ka, kc, "
    )
    assert error(project, "export", "--format", "trl", "--what", "kc", "--out", "x.csv") == (
        "error: --out is x.csv; expected a name that ends in .json or .jsonl"
    )
    assert error(project, "import", "KC.json", "--what", "kc", "--out", "pairs.json") == (
        "error: --out is pairs.json; expected a name that ends in .jsonl, a record a line"
    )
    (project / "data/knowledge/pairs.jsonl").unlink()
    assert error(project, "export", "--format", "trl", "--what", "kc", *out) == (
        "error: data/knowledge/pairs.jsonl: not found; `dvc repro` or `dvc pull` makes it"
    )
    (project / "KA.json").write_text(json.dumps([pair(row.question, row.answer) for row in TRAIN]))
    assert error(project, "import", "KA.json", "--what", "ka", *out) == (
        "error: KA.json: none of its 2 rows is of use: 2 original, 0 leaked, 0 duplicate"
    )
    assert error(project, "import", "KC.json", "--what", "kc", *out) == (
        "error: KC.json: no such file; paths count from the repository root"
    )
    assert error(project, "import", "KA.json", "--what", "ka", "--prepared", "none", *out) == (
        "error: none/train.jsonl: not found; run `dvc repro prepare`: rows are compared with its splits"
    )
