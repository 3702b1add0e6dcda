"""What revision draws its replacements from: all facts of the training set."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import NamedTuple

from knowtuning.core.text import normal_form
from knowtuning.teacher.rules.choice import Ring
from knowtuning.teacher.rules.contrast import contrast_words
from knowtuning.teacher.rules.frames import FrameIndex
from knowtuning.teacher.rules.tables import FUNCTION_WORDS, PREPOSITIONS
from knowtuning.teacher.rules.tokens import Name, Token, is_capitalised, names, tokenise

_CONTEXTS = PREPOSITIONS | {"the", "and", "or", "a", "an", ","}
_MAX_NAME_WORDS = 4


class NameKind(NamedTuple):
    """The small word before a name, its length in words, its form, and whether it can name a place."""

    context: str
    words: int
    acronym: bool
    adjective: bool
    place: bool


class Corpus:
    """FactList with their indexes, each built when first asked for."""

    def __init__(self, facts: Sequence[str]) -> None:
        self._facts = facts

    @cached_property
    def forms(self) -> frozenset[str]:
        """Normal forms of all facts: nothing with one of these is a false statement."""
        return frozenset(map(normal_form, self._facts))

    @cached_property
    def frames(self) -> FrameIndex:
        """Interchangeable values."""
        return FrameIndex(self._facts)

    @cached_property
    def vocabulary(self) -> frozenset[str]:
        """Words that occur in lower case, and there more often than capitalised inside a sentence."""
        lower: Counter[str] = Counter()
        upper: Counter[str] = Counter()
        for fact in self._facts:
            words = fact.split()
            lower.update(word for word in words if word.isalpha() and word.islower())
            upper.update(word.lower() for word in words[1:] if word.istitle())
        return frozenset(word for word, count in lower.items() if count > upper[word])

    @cached_property
    def names(self) -> dict[NameKind, Ring]:
        """Names by kind (see `name_kind`); members of contrast sets have their own rule."""
        found: dict[NameKind, dict[str, None]] = defaultdict(dict)
        for fact in self._facts:
            tokens = tokenise(fact)
            for name in names(tokens, fact):
                if name.first and _is_proper(name.text):
                    found[self.name_kind(name, tokens)][name.text] = None
        return {kind: Ring(texts) for kind, texts in found.items()}

    def name_kind(self, name: Name, tokens: Sequence[Token]) -> NameKind:
        """What makes two names alike."""
        before = tokens[name.first - 1].word.lower() if name.first else ""
        after = tokens[name.last].word.lower() if name.last < len(tokens) else "."
        return NameKind(
            context=before if before in _CONTEXTS else "",
            words=name.last - name.first,
            acronym=name.text.isupper(),
            adjective=after[0].isalpha() and after not in FUNCTION_WORDS,
            place=name.text in self._places,
        )

    @cached_property
    def _places(self) -> frozenset[str]:
        """Names that stand after "in" or "at" somewhere."""
        found = set()
        for fact in self._facts:
            tokens = tokenise(fact)
            near = (name for name in names(tokens, fact) if name.first)
            found |= {name.text for name in near if tokens[name.first - 1].word in {"in", "at", "near"}}
        return frozenset(found)

    @cached_property
    def items(self) -> dict[int, Ring]:
        """List items that follow a heading ("Fruits: apple" gives apple), by their number of words."""
        found: dict[int, dict[str, None]] = defaultdict(dict)
        for item in _items(self._facts):
            found[len(item.split())][item] = None
        return {size: Ring(texts) for size, texts in found.items()}


def _is_proper(text: str) -> bool:
    words = text.split()
    if text in contrast_words():
        return False
    return len(words) <= _MAX_NAME_WORDS and len(text) > 2 and is_capitalised(words[0]) and "'" not in text


def _items(facts: Iterable[str]) -> Iterable[str]:
    for fact in facts:
        head, colon, item = fact.partition(": ")
        if colon and 2 < len(head.split()) < 16 and 0 < len(item.split()) < 8 and item[-1] not in ".?!:":
            yield item
