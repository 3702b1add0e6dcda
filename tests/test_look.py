"""look: records of every kind as text, the marks of pairs, and nothing that could move a cursor."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len
from rich.console import Console

from knowtuning import look
from knowtuning.core.records import Example, Facts, Record, Rejected, Sentence, Verified, write_jsonl
from knowtuning.terminal import clean
from tests.support.records import prediction, preference_pair, scored_facts

TRUE = [Sentence(text="A.", verdict="correct")]
PAIR = preference_pair(
    "It lies in the Salt Coast. It is old.", "It lies in the Iron Hills. It is old.", question="Where is it?"
)


def text_of(record: Record, **options: Any) -> str:
    return printed(look.fields(record, None), **options)


def printed(fields: Iterable[look.Field], **options: Any) -> str:
    """What look prints of the fields, without blanks at the ends of lines."""
    console = Console(file=io.StringIO(), **{"width": 200, **options})
    with console.capture() as output:
        console.print(look.table_of(fields, console))
    return re.sub(" +$", "", output.get(), flags=re.MULTILINE)


def test_the_differing_words_are_marked_and_the_rest_is_as_it_was() -> None:
    shown = text_of(PAIR).splitlines()
    assert shown[2] == "chosen      It lies in the {+Salt Coast.+} It is old."
    assert shown[3] == "rejected    It lies in the [-Iron Hills.-] It is old."
    # Line breaks and indentation come through.
    one, other = look.differing("a\n    b c\n", "a\n    b")
    assert one == [("a\n    b ", ""), ("c\n", "chosen")]
    assert "".join(text for text, _ in other) == "a\n    b"


def test_colour_replaces_the_signs_on_a_terminal_alone() -> None:
    assert "\033" not in text_of(PAIR)
    coloured = text_of(PAIR, color_system="standard", force_terminal=True)
    assert "\033[32mSalt Coast. \033[0m" in coloured
    assert "\033[31mIron Hills. \033[0m" in coloured
    assert "{+" not in coloured


def test_control_characters_are_spelt_out() -> None:
    # ESC, a C1 control, a carriage return, and one that turns the direction of text.
    nasty = "a\033[2Jb\x9bc\rd\u202ee"
    assert clean(nasty) == "a\\x1b[2Jb\\x9bc\\rd\\u202ee"
    assert clean("line\n\tنص 文 e\u0301") == "line\n\tنص 文 e\u0301"
    shown = text_of(Rejected(id=nasty, reason=nasty, raw={"x": nasty}))
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", shown)


def test_facts_stand_by_their_perplexity_the_hardest_first() -> None:
    shown = text_of(scored_facts("a", [2.0, 9.5], texts=["easy", "hard"]))
    assert shown.splitlines()[2:4] == ["ppl 9.50    hard", "ppl 2.00    easy"]


def test_the_tokens_that_count_in_the_loss_are_those_of_training(tiny_base: Path) -> None:
    from knowtuning.model.prompt import load_formatter
    from knowtuning.training.rows import RowEncoder

    class Section:
        template, template_args = "plain", {}

    def loss(encoder: RowEncoder) -> list[str]:
        return [printed([field]) for field in look.loss_fields(PAIR, encoder)]

    formatter = load_formatter(tiny_base, Section())
    for which, expected in (("all", "{n} of {n} tokens"), ("but_end", "{less} of {n} tokens")):
        chosen, _ = loss(RowEncoder(formatter, 256, which))
        n = len(formatter.completion(PAIR.chosen))
        assert expected.format(n=n, less=n - 1) in chosen
        assert ("((</s>))" in chosen) == (which == "but_end")
    chosen, _ = loss(RowEncoder(formatter, 256, "differing"))
    # Whatever is not in double brackets is the part that the other side lacks.
    assert "It is old" not in re.sub(r"\(\(.*?\)\)", "", chosen)
    assert "not trained on: the prompt has" in loss(RowEncoder(formatter, 8, "all"))[0]


@pytest.mark.parametrize(
    "record",
    [
        Example(id="a", question="Q?", answer="A.", meta={"entity": "Aford"}),
        Facts(id="a", question="Q?", answer="A.", facts=["A."]),
        scored_facts("a", [2.7], texts=["A."]),
        PAIR,
        prediction("a", "A.", truncated=True),
        Rejected(id="a", reason="why", raw=None),
        Verified(id="a/kc", question="a", system="kc", scores={}, sentences=TRUE),
    ],
)
def test_a_file_is_read_as_the_records_that_it_holds(record: Record, tmp_path: Path) -> None:
    write_jsonl(tmp_path / "x.jsonl", [record])
    assert look.read(tmp_path / "x.jsonl") == [record]
    assert {"A.", "why", "Hills."} & set(re.findall(r"[\w.]+", text_of(record)))


def test_another_seed_draws_other_records_and_more_of_them_hold_the_fewer() -> None:
    result = [Example(id=str(n), question="Q?", answer="A.") for n in range(50)]
    three, five = (look.drawn(result, n, 0) for n in (3, 5))
    assert {r.id for r in three} < {r.id for r in five}
    assert look.drawn(result, 5, 1) != five
    assert look.drawn(result, 99, 0) == result


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["base"], "base is trained on nothing"),
        (["kc"], r"^data/knowledge/pairs\.jsonl: not found; run `dvc repro`, or `dvc pull`$"),
        (["nobody"], r"^nobody: not found; name a file, or base, sft,"),
        (["odd.jsonl"], r"^odd\.jsonl: its fields are text; expected a record of docs/records\.md$"),
        (["bad.jsonl"], r"^bad\.jsonl: not JSON Lines"),
        (["array.jsonl"], r"^array\.jsonl: not JSON Lines"),
        (["packed.jsonl.gz"], r"^packed\.jsonl\.gz: not UTF-8 .*; save it as UTF-8, not packed"),
        (["score", "--n", "0"], r"^--n is 0; expected at least 1$"),
    ],
)
def test_what_cannot_be_shown_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], message: str
) -> None:
    (tmp_path / "odd.jsonl").write_text('{"text": "x"}\n')
    (tmp_path / "bad.jsonl").write_text("nothing\n")
    (tmp_path / "array.jsonl").write_text("[1, 2]\n")
    (tmp_path / "packed.jsonl.gz").write_bytes(b"\x1f\x8b\x08\x00")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["look", *words])
    with pytest.raises(ValueError, match=message):
        look.main()


def test_columns_stay_straight_with_wide_characters_and_layout() -> None:
    text = Example(id="a", question="城镇位于盐海岸。" * 5, answer="def f():\n    return 1\n\tpass")
    lines = text_of(text, width=32).splitlines()
    assert max(map(cell_len, lines)) <= 32
    assert [line[12:] for line in lines[-3:]] == ["def f():", "    return 1", "    pass"]
