"""The words and patterns that the rules know: words.txt and patterns.txt, one a line behind its name."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from functools import cache
from importlib.resources import files


def _read(name: str) -> dict[str, str]:
    lines = files(__package__).joinpath(name).read_text("utf-8").splitlines()
    return {line.partition(": ")[0]: line.partition(": ")[2] for line in lines if line[0] != "#"}


_LISTS = _read("words.txt")
# Also the templates of questions, behind the question that each is the answer to.
PATTERNS = _read("patterns.txt")


@cache
def pattern(name: str) -> re.Pattern[str]:
    """A regular expression of patterns.txt."""
    return re.compile(PATTERNS[name])


def word_set(text: str) -> frozenset[str]:
    """The words of a text, split at white space."""
    return frozenset(text.split())


def word_list(name: str) -> frozenset[str]:
    """The words of a list."""
    return word_set(_LISTS[name])


def groups(name: str) -> list[list[str]]:
    """The groups of a list: "more than/less than; at least/fewer than"."""
    return [group.split("/") for group in _LISTS[name].split("; ")]


def _hash(*key: object) -> bytes:
    text = "\x1f".join(map(str, key))
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()


def ranked(candidates: Iterable[str], *key: object) -> list[str]:
    """Distinct candidates in an order that `key` determines: a new candidate moves no pair of others."""
    return sorted(dict.fromkeys(candidates), key=lambda candidate: (_hash(*key, candidate), candidate))


def drawn(*key: object) -> float:
    """A number of [0, 1) that `key` determines."""
    return int.from_bytes(_hash(*key)) / 2**64


AUXILIARIES, SINGULAR_VERBS, PLURAL_VERBS = map(word_list, ("auxiliaries", "singular_verbs", "plural_verbs"))
DETERMINERS, PREPOSITIONS = word_list("determiners"), word_list("prepositions")
CONJUNCTIONS, SUBORDINATORS = word_list("conjunctions"), word_list("subordinators")
PERSONAL = word_list("personal")
FUNCTION_WORDS = AUXILIARIES | DETERMINERS | PREPOSITIONS | CONJUNCTIONS | PERSONAL | word_list("others")
BASES = {third: base for base, third, _ in groups("verbs")}
BASE_VERBS, PAST_VERBS = frozenset(BASES.values()), frozenset(forms[2] for forms in groups("verbs"))
# What opens an instruction; a noun of the same spelling is told by the words after it.
IMPERATIVES = BASE_VERBS | word_list("orders")
