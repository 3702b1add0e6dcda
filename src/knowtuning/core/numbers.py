"""Texts compared by their numbers: equal values in another notation are equal.

The words for numbers and bounds are English; in other languages digits alone are read.
"""

from __future__ import annotations

import re
from decimal import Decimal

from knowtuning.core.text import WORD

_TOKEN = re.compile(
    # A number, its sign only where no word or bracket stands before it: "5-10" has none.
    r"(?:(?<![\w)])[-−])?\d+(?:,\d{3})*(?:\.\d+)?|" + WORD + r"|[%‰°<>≤≥=+*/^±~$€£¥]"
)
_UNITS = (
    *(
        "zero",
        "one",
        "two",
        "three",
        "four",
        "five",
        "six",
        "seven",
        "eight",
        "nine",
        "ten",
        "eleven",
        "twelve",
    ),
    *("thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"),
)
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_WORDS = {word: Decimal(value) for value, word in enumerate(_UNITS)}
_WORDS |= {word: Decimal(10 * value) for value, word in enumerate(_TENS, 2)}
_TIMES = {"hundred": 100, "thousand": 1000, "million": 10**6, "billion": 10**9}
# What stands before the greatest and before the least value there is.
_MOST = re.compile(r"(?:at most|up to|\b(?:no|not) more than|(?<!\bno )(?:less|fewer) than|[<≤])$")
_LEAST = re.compile(r"(?:at least|\bno (?:less|fewer) than|(?<!\bno )(?<!\bnot )more than|[>≥])$")

Token = str | Decimal


def tokens(text: str) -> list[Token]:
    """Words, signs of arithmetic and values of a text, folded; "50 %" and "fifty percent" are the same."""
    folded = re.sub(r"\bper ?cent\b", "%", text.casefold().replace("’", "'"))
    found: list[Token] = []
    for token in _TOKEN.findall(folded):
        value = _value(token)
        last = found[-1] if found else None
        if isinstance(last, Decimal) and token in _TIMES:
            found[-1] = last * _TIMES[token]
        elif isinstance(last, Decimal) and token in _UNITS[1:10] and last in range(20, 100, 10):
            found[-1] = last + _WORDS[token]
        else:
            found.append(token if value is None else value)
    return found


def _value(token: str) -> Decimal | None:
    digits = token.replace(",", "").replace("−", "-")
    return Decimal(digits) if re.fullmatch(r"-?\d+(?:\.\d+)?", digits) else _WORDS.get(token)


def same(first: str, second: str) -> bool:
    """Whether two texts say the same but for case, white space, punctuation and the notation of numbers."""
    return tokens(first) == tokens(second)


def entailed(original: str, revised: str) -> bool:
    """Whether `revised` is `original` with values that it implies: equal ones, or a looser bound.

    "At least 3 doors" implies "at least 2 doors", and not the other way round.
    """
    before, after = tokens(original), tokens(revised)
    if len(before) != len(after):
        return False
    return all(
        a == b or _looser(before, after, place)
        for place, (a, b) in enumerate(zip(before, after, strict=True))
    )


def _looser(before: list[Token], after: list[Token], place: int) -> bool:
    """Whether the value of `after` at a place is a looser bound than that of `before`."""
    old, new = before[place], after[place]
    if not isinstance(old, Decimal) or not isinstance(new, Decimal):
        return False
    said = " ".join(map(str, before[:place]))
    return bool(_LEAST.search(said) and new < old) or bool(_MOST.search(said) and new > old)
