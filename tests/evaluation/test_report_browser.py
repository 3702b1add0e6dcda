"""The report in a real browser: it renders, filters and keys work, it asks for nothing, text stays text."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.support.report_run import BREAKOUT, SCRIPT, build, write_run

sync_api = pytest.importorskip("playwright.sync_api")
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium (apt-get install chromium)")
FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync")
QUIET = ("--disable-background-networking", "--disable-component-update")


@dataclass
class Tab:
    """A page, and all that it said or asked for."""

    page: Any
    address: str
    messages: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def shown(self) -> str:
        """The id of the question in view."""
        return str(self.page.locator("#question-id").text_content())

    def listed(self) -> list[str]:
        return [str(text) for text in self.page.locator("#list button > span").all_text_contents()]

    def visible(self, name: str) -> bool:
        return bool(self.page.locator(f".view#{name}").is_visible())


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as play:
        result = play.chromium.launch(executable_path=CHROMIUM, args=[*FLAGS, *QUIET])
        yield result
        result.close()


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder: Path = tmp_path_factory.mktemp("run")
    write_run(folder)
    return build(folder).as_uri()


@pytest.fixture
def tab(browser: Any, address: str) -> Iterator[Tab]:
    """A new tab with the report; at the end nothing was asked for and nothing went wrong."""
    context = browser.new_context(viewport={"width": 1200, "height": 800})
    tab = Tab(context.new_page(), address)
    tab.page.on("console", lambda message: tab.messages.append(message.text))
    tab.page.on("pageerror", lambda error: tab.messages.append(str(error)))
    tab.page.on("request", lambda request: tab.asked.append(request.url))
    tab.page.goto(address)
    yield tab
    context.close()
    assert tab.messages == []
    assert {url.partition("#")[0] for url in tab.asked} == {address}


def test_it_renders_and_switches_views(tab: Tab) -> None:
    assert tab.page.title() == "KnowTuning report"
    assert (tab.visible("results"), tab.visible("answers")) == (True, False)
    # 3 metrics of the headline, training and validation loss, log-probabilities, histogram, calibration.
    assert tab.page.locator("svg.chart").count() == 8
    # A chart has the page's colours.
    colour = "getComputedStyle(document.querySelector('svg.chart [stroke=\"var(--s3)\"]')).stroke"
    assert tab.page.evaluate(colour) == "rgb(11, 125, 92)"
    # The style was applied: the policy's hash fits.
    assert tab.page.evaluate("getComputedStyle(document.querySelector('.top')).position") == "sticky"
    tab.press("a")
    tab.page.wait_for_selector("#answers.shown")
    assert tab.listed() == ["What is Alpha?", "What is Beta?", "Tell me of Gamma.", "An id like a section?"]
    tab.press("r")
    tab.page.wait_for_selector("#results.shown")


def test_hostile_text_shows_as_text(tab: Tab) -> None:
    tab.press("j")
    assert tab.page.locator("[data-system=sft] p").first.text_content() == BREAKOUT
    # The facts stand apart where they are not the sentences of the text.
    assert tab.page.locator("[data-system=sft] .facts li").count() == 1
    passages = tab.page.locator("[data-system=kc] .fact small")
    assert passages.text_content() == " (passages: Towns <b>of note</b> 3.5)"
    tab.press("j")
    fact = tab.page.locator("[data-system=kc] .fact").first
    # Mark, hidden label, a space that does not break, then the text itself.
    assert fact.text_content() == f"✓correct: \u00a0{SCRIPT}"
    assert tab.page.title() == "KnowTuning report"
    assert tab.page.locator("img, iframe").count() == 0


def test_another_system_can_be_chosen_to_compare_with(tab: Tab) -> None:
    def shown() -> list[str]:
        heads = tab.page.locator("section[data-against] h1").all()
        return [head.text_content() for head in heads if head.is_visible()]

    assert shown() == ["kc is better than sft in nothing, worse in nothing."]
    tab.page.select_option("#against", "base")
    assert shown() == ["kc is better than base in nothing, worse in nothing."]
    tab.press("a")
    assert "most above base" in tab.page.locator("#order").inner_text()


def test_training_data_look_as_look_shows_them(tab: Tab) -> None:
    tab.press("t")
    tab.page.wait_for_selector("#training.shown")
    assert tab.page.locator(".record .part-chosen").all_text_contents() == ["town."]
    assert tab.page.locator(".record .part-rejected").all_text_contents() == [f"{SCRIPT}."]


def test_cut_and_repeating_answers_are_marked(tab: Tab) -> None:
    tab.page.goto(f"{tab.address}#q=gamma/δ")
    assert tab.page.locator("[data-system=kc] .cut").count() == 1
    assert tab.page.locator("[data-system=ka] .cut").count() == 0
    tab.page.goto(f"{tab.address}#q=beta")
    # The facts of kc are a script, "Fact 1 of beta." and so on, with no run of four words twice.
    assert tab.page.locator("[data-system=kc] mark").count() == 0
    tab.page.select_option("#verdict", "cut off")
    assert tab.listed() == ["Tell me of Gamma."]


def test_verdicts_differ_in_more_than_colour(tab: Tab) -> None:
    tab.page.goto(f"{tab.address}#q=beta")
    styles = {
        kind: tab.page.evaluate(
            f"getComputedStyle(document.querySelector('[data-system=kc] .v-{kind}')).textDecorationStyle"
        )
        for kind in ("good", "bad")
    }
    assert styles == {"good": "solid", "bad": "wavy"}


def test_filters(tab: Tab) -> None:
    tab.press("a")
    tab.page.wait_for_selector("#answers.shown")
    tab.page.check("#disagree")
    # base 0, sft 1, ka 2, kc 3 correct facts: beta alone.
    assert tab.listed() == ["What is Beta?"]
    assert tab.page.text_content("#count") == "1 of 4 questions"
    tab.page.uncheck("#disagree")
    tab.page.select_option("#verdict", "incorrect")
    assert tab.listed() == ["What is Beta?", "An id like a section?"]
    tab.page.select_option("#strata select", "recall")
    assert tab.listed() == ["An id like a section?"]
    tab.page.click("#reset")
    tab.page.select_option("#verdict", "correct")
    tab.page.select_option("#system", label="base")
    assert tab.listed() == ["What is Alpha?", "Tell me of Gamma."]
    tab.page.click("#reset")
    # All words, in any order, in question, reference, answer or id.
    tab.page.fill("#search", "HILL gamma")
    assert tab.listed() == ["Tell me of Gamma."]
    tab.page.fill("#search", "no such words")
    assert tab.page.text_content("#question") == "No question passes these filters."
    tab.page.click("#reset")
    # kc minus sft in correct facts: beta 3 - 1, the others 0.
    tab.page.select_option("#order", "-correct")
    assert tab.listed()[0] == "What is Beta?"
    assert tab.shown() == "beta"


def test_keys(tab: Tab) -> None:
    tab.press("a")
    tab.page.wait_for_selector("#answers.shown")
    tab.press("j", "ArrowDown")
    assert tab.shown() == "gamma/δ"
    tab.press("k")
    assert tab.shown() == "beta"
    tab.press("ArrowUp", "ArrowUp", "ArrowUp")
    assert tab.shown() == "alpha"
    tab.press("/", "t", "e", "l", "l")
    # Keys in a field are text, not commands.
    assert tab.page.input_value("#search") == "tell"
    assert tab.listed() == ["Tell me of Gamma."]
    tab.press("Escape", "c")
    assert (tab.page.input_value("#search"), len(tab.listed())) == ("", 4)
    tab.press("d")
    assert tab.listed() == ["What is Beta?"]
    tab.press("?")
    assert tab.page.locator("#help").is_visible()
    tab.press("Escape")
    assert not tab.page.locator("#help").is_visible()


def test_links_to_questions(tab: Tab) -> None:
    tab.press("a")
    tab.page.wait_for_selector("#answers.shown")
    tab.press("j", "j")
    assert tab.page.url == f"{tab.address}#q=gamma%2F%CE%B4"
    for link, question in (("#q=results", "results"), ("#beta", "beta"), ("#q=gamma%2F%CE%B4", "gamma/δ")):
        # Otherwise only the address would change, and the page would not start anew.
        tab.page.goto("about:blank")
        tab.page.goto(tab.address + link)
        assert (tab.visible("answers"), tab.shown()) == (True, question)
    # The name of a view is the view, whatever questions are called.
    tab.page.goto("about:blank")
    tab.page.goto(f"{tab.address}#results")
    assert tab.visible("results")
    tab.asked[:] = [url for url in tab.asked if url != "about:blank"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_has_one_column_and_no_sideways_scroll(browser: Any, address: str, scheme: str) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 844}, color_scheme=scheme)
    page = context.new_page()
    for link in ("#results", "#q=beta"):
        page.goto("about:blank")
        page.goto(address + link)
        assert page.evaluate("document.documentElement.scrollWidth") == 390
    tops = page.evaluate("[...document.querySelectorAll('[data-system]')].map(e => e.offsetTop)")
    assert tops == sorted(set(tops))
    light = page.evaluate("parseInt(getComputedStyle(document.body).backgroundColor.match(/\\d+/)[0])")
    assert (light > 128) == (scheme == "light")
    context.close()
