"""False statements by another value: numbers and their bounds, years, members of a closed class, opposites.

Each rule changes one place of a fact; where the place is not sure to be what it seems, it does nothing.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator

from knowtuning.teacher.english.grammar import parse
from knowtuning.teacher.english.words import BASE_VERBS, groups, pattern, ranked, word_list

_NUMBER = r"\d{1,3}(?:,\d{3})+|\d+(?:\.\d+)?"
# A number that counts or measures: not part of a name, a code, a range, a date or a formula.
_QUANTITY = re.compile(
    rf"(?<![\w.,:/+*=-])(?P<sign>[$£€]?)(?P<number>{_NUMBER})(?P<unit> ?%| ?°?[a-z]{{2,}}| [A-Za-z]{{2,}})"
    r"(?![\w/]*[-–/]| [-–] ?\d| (?:or|and|to) )"
)
_NAMED = pattern("named_number")
_YEAR = pattern("year")
_RANGE = re.compile(r"\d{4} ?(?:[-–]|to|and|or|until) ?\d{2,4}\b")
_BOUNDS = {bound: other for bound, other, *_ in groups("bounds")}
_BOUND = re.compile(rf"\b(?:{'|'.join(_BOUNDS)})(?= [$£€]?(?:\d|two|three|four|five|six|ten))", re.I)
_CLASS_OF = {word: group for group in groups("classes") for word in group}
_MEMBER = re.compile(
    rf"(?<![\w'-])(?:{'|'.join(_CLASS_OF)})(?! [A-Z]|['’]s? [A-Z]|[\w'’-]|,? (?:or|and|to|through|of the)\b)"
)
_JOINED = re.compile(r"(?:[A-Z][\w.]*|-|\b(?:and|or|to|from|between|these|those|other|last|first)|,) ?$")
_OPPOSITE = {b: a for a, b in groups("opposites")} | {a: b for a, b, *_ in groups("opposites")}
_PHRASE = re.compile(rf"\b(?:{'|'.join(_OPPOSITE)})\b(?!-| (?:or|to|and|age) | \d)", re.I)
# "Here are common signs" and "it gives a high": the words are there, but not in that part of speech.
_ATTRIBUTE = pattern("attribute")
_NEGATED = pattern("negated")
_CONTRAST = re.compile(
    r"\b(?:but|whether|instead|rather|if|unless|any|either|nor|yet|any\w+|ever|until|[Ss]ome|others)\b"
)
# A change behind one of these touches what is presupposed, not what is said.
_SUBORDINATE = pattern("subordinate")
_NEGATION = re.compile(r"(?:\bnot|n['’]t|\bor|\bno|\bnever|\brarely|\bas) $")


class Values:
    """The numbers of a corpus by their unit, and false sentences made with these or with fixed classes."""

    def __init__(self, facts: Iterable[str]) -> None:
        self._units: dict[str, dict[str, float]] = defaultdict(dict)
        for found in (found for fact in facts for found in _QUANTITY.finditer(fact)):
            unit, number = found["sign"] + found["unit"].strip(), found["number"]
            self._units[unit][number] = float(number.replace(",", ""))

    def false_versions(self, fact: str, question: str, *key: object) -> Iterator[str]:
        """Versions of the fact that its own words exclude, likeliest first; `key` chooses among equals.

        What the question names stays: it is what the fact is about.
        """
        yield from _turned(fact, question, _OPPOSITE, _PHRASE)
        yield from _turned(fact, question, _BOUNDS, _BOUND)
        yield from _dated(fact, question, *key)
        yield from self._counted(fact, question, *key)
        yield from _classed(fact, question, *key)
        found = _NEGATED.search(fact)
        if found is None or not _is_said(fact, found.start()) or _CONTRAST.search(fact):
            return
        if found["subject"] is None or found["verb"] in BASE_VERBS:
            yield _put(fact, found.span(), found["kept"] or found["subject"])

    def _counted(self, fact: str, question: str, *key: object) -> Iterator[str]:
        numbers = re.findall(_NUMBER, f"{question} {fact}")
        for found in _QUANTITY.finditer(fact):
            number, before, unit = found["number"], fact[: found.start()], found["unit"].strip()
            known = numbers.count(number) > 1 or re.fullmatch(r"0\d*|1\d\d\d|20\d\d", number)
            bound = (
                _BOUND.search(f"{before}1") or ":" in fact[found.end() :]
            )  # behind which what is counted follows
            if known or bound or unit in word_list("no_units") or _NAMED.search(before):
                continue
            for other in self._others(number, found["sign"] + unit, *key):
                if other not in numbers:
                    yield _put(fact, found.span("number"), other)

    def _others(self, number: str, unit: str, *key: object) -> Iterator[str]:
        """Numbers of the same unit and size in the corpus, and multiples where it has none."""
        value, known = float(number.replace(",", "")), self._units[unit].items()
        yield from ranked([other for other, size in known if _differs(value, size, unit)], *key)[:3]
        digits, comma = len(number.partition(".")[2]), "," * ("," in number)
        for size in (2 * value, 3 * value, value // 2):
            if _differs(value, size, unit):
                yield f"{size:{comma}.{digits}f}"


def _differs(value: float, other: float, unit: str) -> bool:
    """Whether a number is plausible in place of another and surely differs: neither rounded nor absurd."""
    if (unit in {"%", "percent"} and not 0 < other < 100) or (value == 1) != (other == 1):  # "1 year"
        return False
    return value / 4 <= other <= 0.7 * value or 1.4 * value <= other <= 4 * value


def _put(fact: str, span: tuple[int, int], other: str) -> str:
    """The fact with a place changed; capital letter, "a" and "an" as the new word asks for."""
    before, old = fact[: span[0]], fact[slice(*span)]
    if old[0].isupper() and other[0].islower():
        other = other[0].upper() + other[1:]
    article = re.search(r"\b[Aa]n? $", before)
    if article is not None and (old[0].lower() in "aeiou") != (other[0].lower() in "aeiou"):
        before = f"{before[: article.start() + 1]}{'n' * (other[0].lower() in 'aeiou')} "
    return before + other + fact[span[1] :]


def _is_said(fact: str, place: int) -> bool:
    """Whether what stands at a place is what the fact says: not denied, a condition, or explained after."""
    before = fact[:place]
    quoted = before.count('"') % 2 or before.count("“") > before.count("”")
    return not (
        quoted or _SUBORDINATE.search(before) or _NEGATION.search(before) or "which means" in fact[place:]
    )


def _turned(fact: str, question: str, table: dict[str, str], pattern: re.Pattern[str]) -> Iterator[str]:
    """The fact with its first phrase of a table exchanged."""
    found = pattern.search(fact)
    if found is None or found[0].lower() in question.lower() or _ATTRIBUTE.match(fact, found.start()):
        return
    open_ended = re.search(r"\b(?:may|might|can|could)\b[^,;]*$", fact[: found.start()])
    if _is_said(fact, found.start()) and not open_ended:
        yield _put(fact, found.span(), table[found[0].lower()])


def _dated(fact: str, question: str, *key: object) -> Iterator[str]:
    found = list(_YEAR.finditer(fact))[-1:]
    if not found or _RANGE.search(fact) or found[0]["year"] in question:
        return
    year, others = int(found[0]["year"]), [int(other) for other in re.findall(r"\b[12]\d{3}\b", fact)]
    for shift in ranked(("-19", "-14", "-11", "-9", "-7", "6", "8", "12", "17"), *key):
        moved = year + int(shift)
        if moved <= 2023 and all((moved < other) == (year < other) for other in others if other != year):
            yield _put(fact, found[0].span("year"), str(moved))


def _classed(fact: str, question: str, *key: object) -> Iterator[str]:
    """Another member of a closed class, in what the fact says of its subject."""
    clause = parse(fact)
    start = len(fact) - len(clause.rest) if clause is not None else 1
    for found in _MEMBER.finditer(fact, start):
        word, before, after = found[0], fact[: found.start()], fact[found.end() :]
        if re.search(rf"\b{word}", question) or _JOINED.search(before) or fact.count(word) > 1:
            continue
        if word in {"May", "March"} and not re.search(r"\b(?:in|on|of|until|since|by|early|late) $", before):
            continue
        counted = re.match(r" (?:[a-z]+[^s\W]s\b|people)(?!.*[:(])", after)
        if word in _CLASS_OF["two"] and (not counted or re.search(r"\b(?:the|these|all) $", before)):
            continue
        for other in ranked(_CLASS_OF[word], *key):
            if other not in fact:
                yield _put(fact, found.span(), other)
