"""Values that facts of a corpus put into the same frame: "The export of _ is [amber|wool]."

A frame is a fact with its subject masked and one span of at most six tokens left open. Facts that
share a frame hold interchangeable values, so a value swap is false of its subject and plausible.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from knowtuning.teacher.rules import verbs
from knowtuning.teacher.rules.tables import AUXILIARIES, FUNCTION_WORDS
from knowtuning.teacher.rules.tokens import Name, Token, is_capitalised, names, tokenise

MASK = "\0"
_MAX_TOKENS = 24
_MAX_SPAN = 6
_MIN_FRAME = 3
_MAX_MASKS = 3


@dataclass(frozen=True)
class Slot:
    """text[start:end] of a fact is a value; `values` are those that other facts put there."""

    start: int
    end: int
    values: tuple[str, ...]


class FrameIndex:
    """Frames shared by at least two facts, in memory linear in the words of the corpus."""

    def __init__(self, facts: Iterable[str]) -> None:
        self._ids: dict[tuple[int, str], int] = {}
        self._counts: list[int] = [0]
        self._values: dict[tuple[int, int], dict[str, None]] = defaultdict(dict)
        masked = [row for fact in dict.fromkeys(facts) for row in _masked_variants(fact)]
        paths = [
            (row, self._path(row.words, grow=True), self._path(row.words[::-1], grow=True)) for row in masked
        ]
        for row, prefix, suffix in paths:
            for first, last in self._spans(row, prefix, suffix):
                value = row.text[row.tokens[first].start : row.tokens[last - 1].end]
                self._values[prefix[first], suffix[len(row.words) - last]][value] = None

    def slots(self, fact: str, subject: str) -> list[Slot]:
        """Values of a fact with their alternatives, the longest frame first. `subject` stays as it is."""
        row = _masked(fact, tokenise(fact), subject)
        if row is None:
            return []
        prefix = self._path(row.words, grow=False)
        suffix = self._path(row.words[::-1], grow=False)
        found = []
        for first, last in self._spans(row, prefix, suffix):
            values = self._values.get((prefix[first], suffix[len(row.words) - last]), {})
            start, end = row.tokens[first].start, row.tokens[last - 1].end
            others = tuple(value for value in values if _same_kind(value, fact[start:end]))
            if others:
                found.append((last - first, Slot(start, end, others)))
        return [slot for _, slot in sorted(found, key=lambda pair: pair[0])]

    def _path(self, words: Sequence[str], *, grow: bool) -> list[int]:
        """Ids of the prefixes of `words`, the empty one (0) first; shorter where one is unknown."""
        path = [0]
        for word in words:
            key = (path[-1], word)
            if key not in self._ids:
                if not grow:
                    break
                self._ids[key] = len(self._counts)
                self._counts.append(0)
            path.append(self._ids[key])
            if grow:
                self._counts[path[-1]] += 1
        return path

    def _spans(self, row: _Masked, prefix: Sequence[int], suffix: Sequence[int]) -> Iterator[tuple[int, int]]:
        """Token ranges that other facts may fill otherwise."""
        size = len(row.words)
        shared_head = _shared(prefix, self._counts)
        shared_tail = _shared(suffix, self._counts)
        for first in range(min(shared_head, size - 1) + 1):
            for last in range(max(first + 1, size - shared_tail), min(first + _MAX_SPAN, size) + 1):
                if size - (last - first) >= _MIN_FRAME and _is_value(row, first, last):
                    yield first, last


def _shared(path: Sequence[int], counts: Sequence[int]) -> int:
    """How many words of a path at least two facts go along together."""
    length = 0
    while length + 1 < len(path) and counts[path[length + 1]] > 1:
        length += 1
    return length


@dataclass(frozen=True)
class _Masked:
    """A fact and its tokens; words[i] is the form of tokens[i] in the frame, MASK for the subject."""

    text: str
    tokens: Sequence[Token]
    words: list[str]


def _masked_variants(fact: str) -> list[_Masked]:
    tokens = tokenise(fact)
    if not 3 <= len(tokens) <= _MAX_TOKENS:
        return []
    found = list(dict.fromkeys(name.text for name in names(tokens, fact)))[:_MAX_MASKS]
    rows = [_masked(fact, tokens, name) for name in found] if found else [_masked(fact, tokens, "")]
    return [row for row in rows if row is not None]


def _masked(fact: str, tokens: Sequence[Token], subject: str) -> _Masked | None:
    """Tokens of a fact with every occurrence of the subject as one MASK; None where it does not occur."""
    if len(tokens) > _MAX_TOKENS:
        return None
    if not subject:
        return _Masked(fact, tokens, [token.word for token in tokens])
    wanted = [token.word for token in tokenise(subject)]
    kept: list[Token] = []
    words: list[str] = []
    position = 0
    while position < len(tokens):
        here = tokens[position : position + len(wanted)]
        hit = [token.word for token in here] == wanted
        size = len(wanted) if hit else 1
        kept.append(Token(MASK if hit else here[0].word, here[0].start, tokens[position + size - 1].end))
        words.append(kept[-1].word)
        position += size
    return _Masked(fact, kept, words) if MASK in words else None


def _is_value(row: _Masked, first: int, last: int) -> bool:
    """Whether a span is a whole value in a telling frame: no cut name, a content word outside it.

    The predicate is no value ("X [lies in] Y", "X [is located in] Y" say the same), so a span holds
    no finite verb and does not touch the subject. It stands behind a finite verb: before it, a swap of
    modifiers ("the [main] export of X", "the [chief] export of X") may leave the claim true.
    """
    span = row.words[first:last]
    if not any(word in AUXILIARIES or verbs.is_finite(word) for word in row.words[:first]):
        return False
    if MASK in row.words[max(first - 1, 0) : last + 1] or any(
        word in ',.;:!?()"' for word in (span[0], span[-1])
    ):
        return False
    if any(word in AUXILIARIES or verbs.is_finite(word) for word in span):
        return False
    if span[-1].lower() in FUNCTION_WORDS or all(word.lower() in FUNCTION_WORDS for word in span):
        return False
    if _cuts_name(row.words, first, span[0]) or _cuts_name(row.words, last, row.words[last - 1]):
        return False
    frame = row.words[:first] + row.words[last:]
    return any(word.isalpha() and word.lower() not in FUNCTION_WORDS for word in frame if word != MASK)


def _cuts_name(words: Sequence[str], cut: int, inner: str) -> bool:
    """Whether a cut before words[cut] runs through a capitalised phrase."""
    if not 0 < cut < len(words):
        return False
    before, after = words[cut - 1], words[cut]
    starts = cut == 1 and before.lower() in FUNCTION_WORDS
    return is_capitalised(before) and is_capitalised(after) and not starts and MASK not in (before, after)


def _same_kind(value: str, other: str) -> bool:
    """Whether two spans differ in content and are alike in form: figures for figures, names for names."""
    one, two = _content(value), _content(other)
    if one <= two or two <= one:
        return False
    digits = any(map(str.isdigit, value)) == any(map(str.isdigit, other))
    return digits and value[0].isupper() == other[0].isupper()


def _content(value: str) -> frozenset[str]:
    return frozenset(value.casefold().split()) - FUNCTION_WORDS


def subject_of(fact: str, question: str) -> str:
    """The name a fact is about: the longest it shares with the question, else its first; "" without one."""
    found: list[Name] = names(tokenise(fact), fact)
    folded = f" {' '.join(token.word for token in tokenise(question)).casefold()} "
    shared = [name.text for name in found if _occurs(name.text, folded)]
    if shared:
        return max(shared, key=len)
    return found[0].text if found else ""


def _occurs(name: str, folded: str) -> bool:
    spaced = " ".join(token.word for token in tokenise(name)).casefold()
    return f" {spaced} " in folded
