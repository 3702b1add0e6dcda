"""The report as a file: what it holds, what it must never hold, and the arithmetic of its figures."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knowtuning.core.records import Judgement, Scores, write_jsonl
from knowtuning.core.storage import read_json, write_json
from knowtuning.evaluation.summary import summarise_groups
from knowtuning.report import metric_tables
from knowtuning.report.answers import repeats
from knowtuning.report.charts import colour, draw
from knowtuning.report.page import policy, script_json
from tests.support.report_run import BREAKOUT, SCRIPT, build, read, write_run, write_text


class Page(HTMLParser):
    """The elements of a page, the text of its scripts, and the heads of its tables."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.handlers: list[str] = []
        self.scripts: list[str] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for key, value in attrs if key in ("src", "href")]
        self.handlers += [key for key, _ in attrs if key.startswith("on") or key == "style"]
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        # Void elements have no end.
        while self.open and self.open.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script":
            self.scripts.append(data)
        elif self.open and self.open[-1] != "style" and data.strip():
            self.words.append(data.strip())


def page_of(folder: Path, **added: Path) -> Page:
    """The report of the run in the folder."""
    return Page(build(folder, **added).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Page:
    folder = tmp_path_factory.mktemp("run")
    write_run(folder)
    return page_of(folder)


def test_resamples_are_drawn_in_the_order_of_the_questions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The file of scores is sorted by `question/system`, where q-1 stands before q: evaluate has q first.
    write_run(tmp_path)
    inputs = read(tmp_path)
    turned = {system: dict(reversed(mine.items())) for system, mine in inputs.scores.items()}
    orders = []

    def note(rows: list[Scores], *args: Any, **named: Any) -> Any:
        orders.append([row.question for row in rows if row.system == "kc"])
        return summarise_groups(rows, *args, **named)

    monkeypatch.setattr(metric_tables, "summarise_groups", note)
    metric_tables.against(replace(inputs, scores=turned))
    assert orders == [[example.id for example in inputs.examples]]


def test_the_page_asks_for_nothing_and_holds_hostile_text_as_data(page: Page) -> None:
    # One icon as data:, and links within the page; no handlers or styles in attributes: the policy bans them.
    assert all(address.startswith(("#", "data:")) for address in page.addresses)
    assert page.handlers == []
    assert page.tags.count("script") == 2
    assert "img" not in page.tags
    data = json.loads(page.scripts[0])
    answers = {question["i"]: question["a"] for question in data["questions"]}
    assert answers["alpha"][1]["t"] == BREAKOUT
    assert answers["beta"][3]["f"][0][0] == SCRIPT
    # A passage that was retrieved for a fact goes with it.
    assert answers["alpha"][3]["f"] == [["Fact 0 of alpha.", 0, [["Towns <b>of note</b>", 3.5]]]]
    # Where the facts are the sentences of the answer it is not stored twice.
    assert "t" not in answers["beta"][3]
    assert answers["beta"][0]["s"] == [0.0, 1.0, 50.0, None]
    assert "<b>bold</b>" in page.words
    assert data["systems"] == ["base", "sft", "ka", "kc"]
    assert data["colours"] == ["s-0", "s-1", "s-2", "s-3"]
    assert (data["method"], data["baseline"]) == (3, 1)
    # Of the scores of an exact run; what no answer defines still has its place.
    assert data["leading"] == ["correct", "incorrect", "completeness", "order"]
    # Cut off for kc alone.
    assert [answer.get("x") for answer in answers["gamma/δ"]] == [None, None, None, 1]
    # The training data are there as look shows them, as text.
    assert {"alpha-factuality", SCRIPT + "."} <= set(page.words)


def test_the_method_stands_beside_every_other_system_the_baseline_first(page: Page) -> None:
    words = page.words
    heads = [word for word in words if word.startswith("kc is better than")]
    # Correct facts of beta: kc 3, base 0, sft 1, ka 2; all else is equal. Over four questions means differ
    # by 0.75, 0.5 and 0.25, and three quarters of the questions tie: no interval leaves out 0.
    assert heads == [
        f"kc is better than {name} in nothing, worse in nothing." for name in ("sft", "base", "ka")
    ]
    at = words.index("Not shown to differ")
    assert words[at : at + 3] == ["Not shown to differ", "Correct facts", "+0.50"]
    for name, mean in (("base", "+0.75"), ("ka", "+0.25")):
        at = words.index(f"kc against {name} on 4 questions")
        assert mean in words[at : words.index("Not shown to differ", at) + 3]


def test_tables_say_which_way_is_better_and_what_is_sure(page: Page) -> None:
    words = page.words
    # More correct facts are better, more incorrect ones worse; both intervals leave out 0.
    at = words.index("Difference to sft")
    row = words.index("Correct facts", at)
    assert words[row + 2 : row + 7] == ["▲", "better:", "+2.00", "*", "+1.50 to +2.50"]
    row = words.index("Incorrect facts", at)
    assert words[row + 2 : row + 5] == ["▼", "worse:", "+0.25"]
    assert any("with 90 % intervals" in word for word in words)
    # The headline's charts: those of an exact run that have values.
    assert {"Correct facts, per answer", "Incorrect facts, per answer", "Completeness, %"} <= set(words)
    # What was chosen and what was rejected are curves apart.
    assert "rejected training: -20 at step 1, -30 at 2" in words
    # No judge, no ablations, no audit in this run: no empty sections.
    assert not {"Pairwise verdicts", "Ablations", "Shortcut audit", "Facts"} & set(words)


def test_the_same_inputs_give_the_same_bytes(tmp_path: Path) -> None:
    write_run(tmp_path)
    first = build(tmp_path).read_bytes()
    assert build(tmp_path).read_bytes() == first


def test_verdicts_of_pairs_and_counts_of_facts_appear_where_a_run_has_them(tmp_path: Path) -> None:
    write_run(tmp_path)
    rates = {"win": 50.0, "tie": 25.0, "lose": 25.0, "unjudged": 0.0, "judged": 4}
    net = {"net": 25.0, "net_low": -10.0, "net_high": 60.0}
    # Nothing judged in an aspect: no net rate, and no number in its place.
    pairs = {"kc-sft": {"factuality": {**rates, **net}, "logicality": {**rates, "judged": 0}}}
    write_json(tmp_path / "metrics/judge.json", {"status": "computed", **pairs})
    write_json(tmp_path / "metrics/facts.json", {"kc": {"answers": 4, "recall": 50.0}})
    sides = {"question": "beta", "a": "kc", "b": "sft", "forward": "a", "backward": "a"}
    row = Judgement(id="beta/kc-sft/factuality", **sides, aspect="factuality", outcome="win", reason=None)
    write_jsonl(tmp_path / "data/verification/judgements.jsonl", [row])
    page = page_of(tmp_path)
    words = page.words
    start = words.index("win: 50.0 %")
    # The bar's title per outcome (none for 0 %), the same in a line, then the net rate.
    assert words[start : start + 5] == [
        *("win: 50.0 %", "tie: 25.0 %", "lose: 25.0 %", "win 50 tie 25 lose 25", "+25.00")
    ]
    assert "Reference facts stated" in words
    question = next(q for q in json.loads(page.scripts[0])["questions"] if q["i"] == "beta")
    assert question["j"] == [[0, 0, "win"]]


def test_a_human_evaluation_appears_where_it_is_given_and_only_there(tmp_path: Path) -> None:
    write_run(tmp_path)
    rates = {"n": 8, "win": 75.0, "tie": 25.0, "lose": 0.0, "net": 75.0, "net_low": 50.0, "net_high": 100.0}
    path = tmp_path / "metrics/human.json"
    write_json(
        path, {"pairs": {"kc-sft": {"factuality": rates}}, "agreement": {"factuality": {"agree": 80.0}}}
    )
    words = page_of(tmp_path, human=path).words
    assert {"Human evaluation", "win: 75.0 %", "+75.00", "agreement.factuality.agree"} <= set(words)
    # Which file that is, is the stage's business: the page looks for none itself.
    assert "Human evaluation" not in page_of(tmp_path).words


def test_notes_and_examples_of_prepare_get_a_row_each(tmp_path: Path) -> None:
    write_run(tmp_path)
    links = [{"where": "row 1", "answer": "These resources: <b>"}]
    tree = {"train": {"kept": 2}, "notes": ["One.", "Two."], "boilerplate": {"link_list": links}}
    write_json(tmp_path / "metrics/data.json", tree)
    words = page_of(tmp_path).words
    for name, value in (("notes.2", "Two."), ("boilerplate.link_list.1.answer", "These resources: <b>")):
        assert words[words.index(name) + 1] == value


def test_ablations_of_a_study_appear_where_they_are_given(tmp_path: Path) -> None:
    write_run(tmp_path)
    study = tmp_path / "study.csv"
    write_text(study, "group,ablation,metric,value,low,high\noverall,no-ka,incorrect,-0.5,-0.75,-0.25\n")
    words = page_of(tmp_path, ablations=study).words
    start = words.index("no-ka")
    # Fewer incorrect facts with the part than without it: better.
    assert words[start : start + 5] == ["no-ka", "▲", "better:", "−0.50", "*"]
    for cells in ("0.5,,0.7", "0.5"):
        write_text(study, f"group,ablation,metric,value,low,high\noverall,no-ka,incorrect,{cells}\n")
        with pytest.raises(ValueError, match=r"study\.csv:2: low: found (''|None), expected a number"):
            build(tmp_path, ablations=study)
    write_text(study, "name,value\n")
    with pytest.raises(ValueError, match=r"study\.csv: found no row; expected the columns group, ablation"):
        build(tmp_path, ablations=study)


def test_a_score_without_its_question_ends_in_one_line(tmp_path: Path) -> None:
    write_run(tmp_path)
    path = tmp_path / "data/prepared/test.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[1:]))
    with pytest.raises(ValueError, match=r"found 3 of the 4 questions that were scored.*run evaluate again"):
        build(tmp_path)
    assert read_json(tmp_path / "metrics/systems.json")


HOSTILE = st.text(st.characters() | st.sampled_from("<>&\u2028\u2029\ud800/!-"), max_size=20)


@given(st.dictionaries(HOSTILE, st.lists(HOSTILE, max_size=3), max_size=3))
def test_embedded_json_cannot_leave_its_element_and_reads_back(value: object) -> None:
    result = script_json(value)
    assert not re.search("[<>&\u2028\u2029]", result)
    assert json.loads(result.encode("utf-8")) == value


def test_embedded_json_refuses_nan() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        script_json(float("nan"))


def test_policy_names_the_hash_of_the_script() -> None:
    # echo -n 'alert(1)' | openssl dgst -sha256 -binary | base64
    assert "script-src 'sha256-bhHHL3z2vDgxUt0W3dWQOrprscmda2Y5pLsLg4GF+pI='" in policy(
        script="alert(1)", style=""
    )


def test_a_chart_has_the_colours_of_the_page_no_styles_and_escaped_words() -> None:
    def paint(axes: Any) -> None:
        axes.plot([1, 2], [3, 4], color=colour("s1"), gid="<a> & b", label="<b>")

    svg = draw("<caption>", paint).svg
    assert svg == draw("<caption>", paint).svg
    assert 'stroke="var(--s1)"' in svg
    assert "<title>&lt;a&gt; &amp; b</title>" in svg
    assert 'aria-label="&lt;caption&gt;"' in svg
    assert not re.search(r"style=|<style|#c0de|<metadata|<a>|<b>", svg)
    # Ids of another chart are others: no reference reaches into it.
    ids = [set(re.findall(r' id="([^"]*)"', draw(name, paint).svg)) for name in ("one", "two")]
    assert ids[0]
    assert ids[1]
    assert not ids[0] & ids[1]


def test_what_an_answer_says_again_is_marked_from_its_first_repeated_word() -> None:
    assert repeats("It is a town. It is a town") == [[14, 26]]
    # Runs that overlap are one; a character beyond U+FFFF counts two, as in JavaScript.
    text = "\U0001f600 one two three four five. One two three four five!"
    assert repeats(text) == [[28, 51]]
    # Three words again are no run, and neither is a text of less than four.
    assert repeats("one two three, one two three") == []
    assert repeats("") == []
