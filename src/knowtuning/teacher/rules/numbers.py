"""Other numbers of the same form: years, ordinals, percentages, counts, ranges, number words."""

from __future__ import annotations

import re
from collections.abc import Iterator

from knowtuning.teacher.rules.tables import CONTRAST_SETS
from knowtuning.teacher.rules.tokens import replace

_NUMBER = re.compile(
    r"(?<![\w.,/:#+^*=<>(-])(\d{1,3}(?:,\d{3})+|\d+)(\.\d+)?(st|nd|rd|th|s)?(?!\w|[/:^*=]|[.,]\d|-\w)"
)
_RANGE = re.compile(r"(?<![\w.,/:#-])(\d{1,4})(\s?[-–]\s?)(\d{1,4})(?![\w/:-]|[.,]\d)")
_MONTHS = CONTRAST_SETS[0]
_MONTH_NEAR = re.compile(rf"(?:{'|'.join(_MONTHS)})\s*$")
_MONTH_NEXT = re.compile(rf"\s*(?:of\s+)?(?:{'|'.join(_MONTHS)})\b")
_SCALES = (("1", "2"), ("3", "2"), ("2", "1"), ("3", "1"), ("5", "2"), ("7", "10"), ("4", "1"))
_YEAR_SHIFTS = (-41, -34, -27, -18, -12, -7, -4, 4, 7, 12, 18, 27, 34)
_WORDS = ["two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]
_TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
_ORDINALS = ["first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth"]
_MAGNITUDES = ["hundred", "thousand", "million", "billion", "trillion"]
_HUNDREDS = ["hundreds", "thousands", "millions", "billions"]
_FRACTIONS = ["half", "third", "quarter"]
_WORD_SETS = (_WORDS, _TENS, _ORDINALS, _MAGNITUDES, _HUNDREDS)
_WORD = re.compile(rf"\b({'|'.join(word for group in _WORD_SETS for word in group)})\b(?!-)")
_LATEST_YEAR = 2023


def number_swaps(fact: str, question: str) -> Iterator[str]:
    """The fact with one of its numbers changed; numbers of the question (its topic) stay."""
    ranges = list(_RANGE.finditer(fact))
    for match in ranges:
        yield from _range_swaps(fact, match)
    for match in _NUMBER.finditer(fact):
        in_range = any(found.start() <= match.start() < found.end() for found in ranges)
        if match.group() in question or in_range or _is_label(fact, match.start()):
            continue
        for value in _alternatives(fact, match):
            yield replace(fact, match.start(), match.end(), value)
    for match in _WORD.finditer(fact):
        if match.group() in question.lower() or _is_idiom(fact, match):
            continue
        group = next(group for group in _WORD_SETS if match.group() in group)
        for value in group:
            if value != match.group():
                yield replace(fact, match.start(), match.end(), value)


def _is_label(fact: str, start: int) -> bool:
    """Whether a number is part of a name or a list marker: "Windows 10", "Step 2", "1. Cut"."""
    before = fact[:start].split()
    if not before:
        return not re.match(r"\d+\s+\w", fact)
    word = before[-1]
    return word[:1].isupper() and len(before) > 1 and word.isalpha() and word not in _MONTHS


def _is_idiom(fact: str, match: re.Match[str]) -> bool:
    before = fact[: match.start()].split()[-1:] or [""]
    after = fact[match.end() :]
    if match.group() in _ORDINALS:
        return before[0].lower() not in {"the", "a", "his", "her", "its", "their"} or (
            match.group() in {"second", "third"} and before[0].lower() == "a"
        )
    if match.group() in _WORDS:
        return after.startswith((" or ", "-")) or before[0] in {"or", "the", "these", "those"}
    return False


def _range_swaps(fact: str, match: re.Match[str]) -> Iterator[str]:
    low, high = int(match.group(1)), int(match.group(3))
    if low >= high:
        return
    year = low >= 1000
    for shift in (-31, -17, 13, -44) if year else (max(1, high - low), 2 * high, high + 1):
        if low + shift > 0:
            yield fact[: match.start()] + f"{low + shift}{match.group(2)}{high + shift}" + fact[match.end() :]


def _alternatives(fact: str, match: re.Match[str]) -> Iterator[str]:
    """Other numbers written like this one."""
    digits, decimals, suffix = match.groups()
    value = int(digits.replace(",", ""))
    if decimals:
        yield from _decimals(digits, decimals, suffix or "")
    elif suffix == "s":
        yield from (f"{value + shift}s" for shift in (-30, -20, -10, 10, 20) if 0 <= value + shift <= 2020)
    elif suffix:
        yield from (ordinal(other) for other in _near(value) if other != value)
    elif len(digits) == 4 and 1000 <= value <= 2100:
        yield from (str(value + shift) for shift in _YEAR_SHIFTS if value + shift <= max(value, _LATEST_YEAR))
    elif _MONTH_NEAR.search(fact[: match.start()]) or _MONTH_NEXT.match(fact[match.end() :]):
        yield from (str(day) for day in range(2, 29, 3) if day != value)
    else:
        yield from _counts(digits, value, percent=fact[match.end() :].lstrip().startswith(("%", "percent")))


def _near(value: int) -> list[int]:
    return [other for shift in (-3, -2, -1, 1, 2, 3) if (other := value + shift) > 0]


def ordinal(value: int) -> str:
    """12 -> 12th, 21 -> 21st."""
    if value % 100 in {11, 12, 13}:
        return f"{value}th"
    return f"{value}{({1: 'st', 2: 'nd', 3: 'rd'}).get(value % 10, 'th')}"


def _counts(digits: str, value: int, *, percent: bool) -> Iterator[str]:
    if value < 2 or (digits[0] == "0" and len(digits) > 1):
        return
    zeros = len(digits) - len(digits.rstrip("0,"))
    unit = 10 ** digits[len(digits) - zeros :].count("0") if zeros else 1
    scaled = {value * int(up) // int(down) // unit * unit for up, down in _SCALES if up != down}
    others = scaled | set(_near(value) if value < 20 else [])
    for other in sorted(others - {value}):
        if other > 1 and not (percent and value <= 100 <= other):
            yield f"{other:,}" if "," in digits else str(other)


def _decimals(digits: str, decimals: str, suffix: str) -> Iterator[str]:
    places = len(decimals) - 1
    scaled = int(digits.replace(",", "") + decimals[1:])
    for up, down in _SCALES:
        other = scaled * int(up) // int(down)
        if other not in {0, scaled}:
            whole, part = divmod(other, 10**places)
            yield f"{f'{whole:,}' if ',' in digits else whole}.{part:0{places}d}{suffix}"
