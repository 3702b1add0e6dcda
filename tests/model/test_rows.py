"""Training rows: what the loss sees, what is refused, and which rows are held out."""

from __future__ import annotations

from pathlib import Path

import pytest

from knowtuning.core.records import Example, Pair, Rejected, Rewrite
from knowtuning.training.rows import PairRow, Row, accept, beside_rewrites, hold_out, split_rows
from tests.support.training import encoder


def test_the_loss_counts_the_completion_and_its_end(tiny_base: Path) -> None:
    enc = encoder(tiny_base)
    row = enc.row(Example(id="a", question="Where is Aford?", answer="In the Salt Coast."))
    assert isinstance(row, Row)
    decode = enc.formatter.tokenizer.decode
    assert decode(row.completion) == " In the Salt Coast.</s>"
    assert decode(row.prompt) == "<s>Question: Where is Aford?\nAnswer:"
    assert row.tokens == len(row.prompt) + len(row.completion)


def test_a_prompt_that_fills_the_row_is_rejected_by_name(tiny_base: Path) -> None:
    enc = encoder(tiny_base)
    whole = enc.row(Example(id="a", question="Where?", answer="x"))
    assert isinstance(whole, Row)
    prompt = len(whole.prompt)
    short = encoder(tiny_base, prompt)
    result = short.row(Example(id="a", question="Where?", answer="x"))
    assert isinstance(result, Rejected)
    assert result.reason == (
        f"the prompt has {prompt} tokens and model.max_length is {prompt}: no completion is left"
    )
    # One token more, and the completion keeps one token.
    kept = encoder(tiny_base, prompt + 1).row(Example(id="a", question="Where?", answer="x y z"))
    assert isinstance(kept, Row)
    assert len(kept.completion) == 1
    assert (enc.cut_off([kept, whole]), enc.cut_off([whole])) == (1, 0)


def test_pairs_that_truncation_makes_equal_are_rejected(tiny_base: Path) -> None:
    pair = Pair(
        id="p", source="a", aspect="factuality", question="Q?", chosen="A b c.", rejected="A b d.", offset=0.5
    )
    whole = encoder(tiny_base).row(pair)
    assert isinstance(whole, PairRow)
    assert whole.offset == pair.offset == 0.5
    prompt = len(whole.prompt)
    cut = encoder(tiny_base, prompt + 2).row(pair)
    assert isinstance(cut, Rejected)
    assert "the same after truncation" in cut.reason


def test_a_share_of_the_examples_with_a_rewrite_stays_beside_it() -> None:
    examples = [Example(id=f"e{i}", question="Q?", answer="A.") for i in range(6)]
    # Four have a rewrite.
    rewrites = [
        Rewrite(id=f"e{i}-ka", source=f"e{i}", question="R?", answer="B.", facts=[]) for i in range(4)
    ]
    left = {
        share: [row.id for row in beside_rewrites([*examples, *rewrites], share, 1)]
        for share in (0.0, 0.3, 0.5, 1.0)
    }
    rewritten = [row.id for row in rewrites]
    assert left[0.0] == ["e4", "e5", *rewritten]
    assert left[1.0] == [*(row.id for row in examples), *rewritten]
    # ceil(0.3 * 4) and ceil(0.5 * 4) are 2: the same two, in file order, and more only join them.
    assert left[0.3] == left[0.5]
    assert len(left[0.5]) == 2 + 2 + 4
    assert left[0.5] == sorted(left[0.5][:-4]) + rewritten
    other = {tuple(row.id for row in beside_rewrites([*examples, *rewrites], 0.5, seed)) for seed in range(9)}
    assert len(other) > 1


def test_too_many_rejected_rows_end_the_stage_and_are_written_first(tmp_path: Path) -> None:
    out = tmp_path / "rows.rejected.jsonl"
    result = [Row("a", "a", [1], [1]), Rejected(id="b", reason="too long", raw=9)]
    with pytest.raises(ValueError, match=r"1 of 2 rows were rejected, train_ka\.max_rejected allows 0\.4"):
        accept(result, out, limit=0.4, key="train_ka.max_rejected")
    assert out.read_text().count("\n") == 1
    assert [row.id for row in accept(result, out, limit=0.5, key="k")] == ["a"]


def test_a_rewrite_is_held_out_with_its_original() -> None:
    rows = [Row(name, name.split("-")[0], [1], [1]) for i in range(40) for name in (f"q{i}", f"q{i}-ka")]
    train, held = split_rows(rows, 6, 3, section="train_ka", source="data/prepared")
    assert len({row.source for row in held}) == 6
    assert len(held) == 12
    assert not {row.source for row in train} & {row.source for row in held}


def test_held_out_rows_do_not_depend_on_order_and_stay_a_minority() -> None:
    names = [f"q{i}" for i in range(30)]
    assert hold_out(names, 5, 1) == hold_out(reversed(names), 5, 1)
    assert len(hold_out(names, 100, 1)) == 6  # a fifth of 30
    # A new source takes at most one place.
    assert len(hold_out([*names, "new"], 5, 1) - hold_out(names, 5, 1)) <= 1


def test_rewrites_carry_their_source(tiny_base: Path) -> None:
    row = encoder(tiny_base).row(Rewrite(id="a-ka", source="a", question="Q?", answer="A.", facts=["A."]))
    assert isinstance(row, Row)
    assert row.source == "a"
