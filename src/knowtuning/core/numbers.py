"""Texts compared by their numbers: equal values in another notation are equal. And exact shares of counts.

The words for numbers and bounds are English; in other languages digits alone are read.
"""

from __future__ import annotations

import re
from decimal import Decimal
from fractions import Fraction

from knowtuning.core.text import WORD

_TOKEN = re.compile(
    # A number, its sign only where no word or bracket stands before it: "5-10" has none.
    r"(?:(?<![\w)])[-−])?\d+(?:,\d{3})*(?:\.\d+)?|" + WORD + r"|[%‰°<>≤≥=+*/^±~$€£¥]"
)
_TO_NINETEEN = """
    zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen
    seventeen eighteen nineteen
"""
_UNITS = _TO_NINETEEN.split()
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_WORDS = {word: Decimal(value) for value, word in enumerate(_UNITS)}
_WORDS |= {word: Decimal(10 * value) for value, word in enumerate(_TENS, 2)}
_TIMES = {"hundred": 100, "thousand": 1000, "million": 10**6, "billion": 10**9}
# What stands before the greatest and before the least value there is.
_MOST = re.compile(r"(?:at most|up to|\b(?:no|not) more than|(?<!\bno )(?:less|fewer) than|[<≤])$")
_LEAST = re.compile(r"(?:at least|\bno (?:less|fewer) than|(?<!\bno )(?<!\bnot )more than|[>≥])$")

_ABOUT = re.compile(r"\b(?:about|around|approximately|roughly|nearly|almost|circa|some) (?=[$£€]?\d)", re.I)

Token = str | Decimal


def tokens(text: str) -> list[Token]:
    """Words, signs of arithmetic and values of a text, folded; "50 %" and "fifty percent" are equal."""
    folded = re.sub(r"\bper ?cent\b", "%", text.casefold().replace("’", "'"))
    result: list[Token] = []
    for token in _TOKEN.findall(folded):
        value = _value(token)
        last = result[-1] if result else None
        if isinstance(last, Decimal) and token in _TIMES:
            result[-1] = last * _TIMES[token]
        elif isinstance(last, Decimal) and token in _UNITS[1:10] and last in range(20, 100, 10):
            result[-1] = last + _WORDS[token]
        else:
            result.append(token if value is None else value)
    return result


def _value(token: str) -> Decimal | None:
    digits = token.replace(",", "").replace("−", "-")
    return Decimal(digits) if re.fullmatch(r"-?\d+(?:\.\d+)?", digits) else _WORDS.get(token)


def same(first: str, second: str) -> bool:
    """Whether two texts say the same but for case, white space, punctuation and the notation of numbers."""
    return tokens(first) == tokens(second)


def entailed(original: str, revised: str) -> bool:
    """Whether `revised` is `original` with values that it implies: equal ones, or a looser bound.

    "At least 3 doors" implies "at least 2 doors", and not the other way round; "about 3" is 3.
    """
    before, after = (tokens(_ABOUT.sub("", text)) for text in (original, revised))
    if len(before) != len(after):
        return False
    pairs = enumerate(zip(before, after, strict=True))
    return all(old == new or _is_looser(before[:index], old, new) for index, (old, new) in pairs)


def _is_looser(context: list[Token], old: Token, new: Token) -> bool:
    """Whether `new` is a looser bound than `old`, both behind the tokens `context`."""
    if not isinstance(old, Decimal) or not isinstance(new, Decimal):
        return False
    words = " ".join(map(str, context))
    return bool(_LEAST.search(words) and new < old) or bool(_MOST.search(words) and new > old)


def exact_share(share: float, count: int) -> Fraction:
    """share * count, `share` being the decimal it is written as: 0.1 of 30 is 3, where floats give more."""
    return Fraction(repr(share)) * count
