"""An answer as it stands, cut at its facts: its layout, with other things in the places of the facts."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

from knowtuning.core.text import STOPS, WIDE_STOPS, Span, word_spans, words

# Share of a fact's words that stand in the answer in one run, or two close by; the teacher may have put a
# name for a pronoun.
_MIN_RUN = 0.6
_SKIPPED = 3  # words of the answer that a fact may lack between two of its runs
# Where a piece may begin: behind a sentence, a colon or a line break, and the mark of a list item.
_BEGIN = re.compile(rf"(?:^|(?<=[{STOPS}])[\"”’)]*(?=\s|$)|\n)\s*(?:[-•*]\s+|\(?\d{{1,2}}[.)]\s+)?")
_END = re.compile(r"[^\w\s]*")
_LETTER = re.compile(r"[^\W\d_]")


@dataclass(frozen=True)
class Layout:
    """pieces: what the answer says for each fact, whole sentences or lines. gaps: what stands before each of
    them, and behind the last: white space, marks of lists, headings and what is no fact."""

    pieces: list[str]
    gaps: list[str]

    def text(self, slots: Sequence[str | None]) -> str:
        """The answer with `slots` for its pieces; None takes the gap before it along, unless that speaks."""
        text, held = "", False
        for gap, slot in zip(self.gaps, [*slots, ""], strict=True):
            speaks = _LETTER.search(gap) is not None
            if (slot is not None or speaks or not text) and not (held and not speaks):
                text, held = text + gap, slot is None
            if slot is not None:
                text, held = text + slot, False
        return text.strip()


def layout(answer: str, facts: Sequence[str]) -> Layout | None:
    """The answer cut at its facts; None where one of them is not whole sentences of it, in their order."""
    spans = word_spans(answer)
    matcher = SequenceMatcher(autojunk=False)
    matcher.set_seq2([span.word for span in spans])
    pieces, gaps, at, end = [], [], 0, 0
    for fact in facts:
        run = _run(matcher, words(fact), at, len(spans))
        if run is None:
            return None
        first, at = run
        # Where the sentence or line of the fact begins, behind those before it.
        begins = [end + match.end() for match in _BEGIN.finditer(answer[end : spans[first].start])]
        stop = _stop(answer, spans[at - 1].end)
        if not begins or stop is None:
            return None
        begin = begins[-1]
        gaps.append(answer[end:begin])
        pieces.append(answer[begin:stop])
        end = stop
    return Layout(pieces, [*gaps, answer[end:]])


def _run(matcher: SequenceMatcher[str], fact: list[str], at: int, size: int) -> tuple[int, int] | None:
    """The first word that a fact is made of and the one behind the last, from the answer's word `at` on.

    size: words of the answer."""
    matcher.set_seq1(fact)
    # Words of the fact that stand in the answer: a, the first in the fact; b, the first in the answer; size.
    run = matcher.find_longest_match(0, len(fact), at)
    # What stands behind a word that the teacher left out: "… burned. However, it was rebuilt."
    left, end = run.a + run.size, run.b + run.size
    rest = len(fact) - left
    tail = matcher.find_longest_match(left, len(fact), end, min(end + rest + _SKIPPED, size))
    whole = 2 * tail.size > rest
    if not run.size or run.size + whole * tail.size < _MIN_RUN * len(fact):
        return None
    # The lead-in of a list, of which the teacher leaves out "the following".
    lead = matcher.find_longest_match(0, run.a, at, run.b)
    return (lead.b if 2 * lead.size > run.a else run.b), (tail.b + tail.size if whole else end)


def _stop(answer: str, word: int) -> int | None:
    """Where the sentence or line ends whose last word ends at `word`; None where it goes on."""
    match = _END.match(answer, word)
    assert match is not None
    rest = answer[match.end() :]
    ends = re.search(rf"[{STOPS}](?<!:)", match[0]) or re.match(r"[ \t]*(?:\n|$)", rest)
    whole = not rest or rest[0].isspace() or match[0].endswith(tuple(WIDE_STOPS))
    return match.end() if ends and whole else None


def in_place(fact: str, piece: str, revised: str) -> str:
    """The piece of an answer with the change that turns its fact into `revised`.

    That is `revised` itself where the change is not one place of the words that piece and fact share.
    """
    in_fact, in_answer, new = word_spans(fact), word_spans(piece), word_spans(revised)
    head = _common(in_fact, new)
    tail = min(_common(in_fact[::-1], new[::-1]), len(in_fact) - head, len(new) - head)
    matcher = SequenceMatcher(None, words(fact), words(piece), autojunk=False)
    last = len(in_fact) - tail
    runs = (run for run in matcher.get_matching_blocks() if run.a <= head and last <= run.a + run.size)
    first, at, size = max(runs, key=lambda run: run.size, default=(0, 0, 0))
    if head + tail == len(in_fact) == len(new) or not size:
        return piece if fact == revised else revised
    # From the end of the word before the change to the begin of the one behind it, where the run has those.
    shift, end = at - first, len(new) - tail
    if head > first:
        left, begin = in_answer[head - 1 + shift].end, new[head - 1].end
    else:
        left, begin = in_answer[at].start, new[head].start if head < len(new) else len(revised)
    if last < first + size:
        right, stop = in_answer[last + shift].start, new[end].start
    else:
        right, stop = in_answer[at + size - 1].end, new[end - 1].end
    return piece[:left] + revised[begin : max(begin, stop)] + piece[right:]


def _common(first: Sequence[Span], second: Sequence[Span]) -> int:
    """How many words two texts have in common from their begin."""
    pairs = zip(first, second, strict=False)
    return next((i for i, (a, b) in enumerate(pairs) if a.word != b.word), min(len(first), len(second)))


def separator(answer: str) -> str:
    """What most often stands between two sentences or lines of an answer: white space."""
    between = re.findall(rf"(?<=[{STOPS}])[ \t]+(?=\S)|\s*\n\s*|(?<=[{WIDE_STOPS}])(?=\S)", answer.strip())
    return Counter(between).most_common(1)[0][0] if between else " "
