"""False statements by another value: numbers and bounds, years, names, members of a closed class, opposites.

Each rule changes one value of a fact; where that may not be what it seems, or the rest of the fact explains
it, it does nothing. What would mark a false text by its form is exchanged no more often than its opposite.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator

from knowtuning.teacher.english.grammar import parse
from knowtuning.teacher.english.words import drawn, groups, pattern, ranked, word_list

_NUMBER = r"\d{1,3}(?:,\d{3})+|\d+(?:\.\d+)?"
# A number that counts or measures: not part of a name, a code, a range, a date or a formula.
_QUANTITY = re.compile(
    rf"(?<![\w.,:/+*=-])(?P<sign>[$£€]?)(?P<number>{_NUMBER})(?P<unit> ?%| ?°?[a-z]{{2,}}| [A-Za-z]{{2,}})"
    r"(?![\w/]*(?:[-–/]|,? \d)| [-–] ?\d| (?:or|and|to) )"
)
_BOUNDS = {bound: other for bound, other, *_ in groups("bounds")}
_BOUND = re.compile(rf"\b(?:{'|'.join(_BOUNDS)})(?= [$£€]?(?:\d|two|three|four|five|six|ten))", re.I)
# The first are what they seem anywhere, the second between the words of `framed_before` and `framed_after`.
_CLASS_OF = {word: group for group in groups("classes") + groups("framed") for word in group}
_FRAMED = groups("framed")
_MEMBER = re.compile(
    rf"(?<![\w'-])(?:{'|'.join(sorted(_CLASS_OF, key=len, reverse=True))})"
    r"(?! [A-Z]|['’]s? [A-Z]|[\w'’-]|,? (?:or|and|to|through|of the)\b)"
)
_SLOTS = pattern("gene"), pattern("agent"), pattern("chromosome")
_OTHER = {b: a for a, b in groups("opposites")} | {a: b for a, b, *_ in groups("opposites")} | _BOUNDS
_TURNED = "|".join(word for word in _OTHER if word not in _BOUNDS)
_PHRASES = re.compile(rf"\b(?:{_TURNED})\b(?!-| (?:or|to|and|age) | \d)", re.I), _BOUND


class Values:
    """The values of a corpus by their kind, and false sentences made with these or with fixed classes."""

    def __init__(self, facts: Iterable[str]) -> None:
        self._units: dict[str, dict[str, float]] = defaultdict(dict)
        self._names: dict[tuple[object, ...], dict[str, None]] = defaultdict(dict)
        self._phrases: Counter[str] = Counter()
        for fact in facts:
            for match in _QUANTITY.finditer(fact):
                unit = match["sign"] + match["unit"].strip()
                self._units[unit][match["number"]] = _size(match["number"])
            for match in (match for slot in _SLOTS for match in slot.finditer(fact)):
                self._names[_kind(match)][match["value"]] = None
            self._phrases.update(match[0].lower() for rule in _PHRASES for match in rule.finditer(fact))

    def false_versions(self, fact: str, question: str, *key: object) -> Iterator[str]:
        """Versions of the fact that its own words exclude, likeliest first; `key` chooses among equals.
        What the question names stays: it is what the fact is about."""
        if pattern("unknown").search(fact):
            return
        for rule in (self._named, _dated, self._counted, _classed, self._turned):
            yield from rule(fact, question, *key)

    def _named(self, fact: str, question: str, *key: object) -> Iterator[str]:
        """The fact with a name exchanged, wherever it stands, for another that the corpus has in its slot."""
        for slot in _SLOTS:
            names = {match["value"]: match for match in slot.finditer(fact)}
            if len(names) != 1 or pattern("denied").search(fact):
                continue
            ((name, match),) = names.items()
            whole = re.compile(rf"(?<![\w-]){re.escape(name)}(?![\w-])")
            article = re.search(rf"\ban? {re.escape(name)}", fact)
            if article or name in question or len(whole.findall(fact)) != fact.count(name):
                continue
            for other in ranked(self._names[_kind(match)], *key):
                if other not in fact and other not in question:
                    yield whole.sub(other, fact)

    def _counted(self, fact: str, question: str, *key: object) -> Iterator[str]:
        numbers = re.findall(_NUMBER, f"{question} {fact}")
        sizes = list(map(_size, numbers))
        # "30 teams, 15 in the east and 15 in the west": one alone cannot change.
        bound_up = len(sizes) > 2 and any(2 * size == sum(sizes) for size in sizes)
        bound_up = bound_up or pattern("converted").search(fact) is not None
        for match in () if bound_up else _QUANTITY.finditer(fact):
            number, before, unit = match["number"], fact[: match.start()], match["unit"].strip()
            known = numbers.count(number) > 1 or re.fullmatch(r"0\d*|1\d\d\d|20\d\d", number)
            behind = fact[match.end() :].partition(". ")[0]
            bound = _BOUND.search(f"{before}1") or pattern("itemised").search(behind)
            named = pattern("open").search(before) or pattern("named_number").search(before)
            rate = pattern("rate").match(fact, match.start("unit"))
            if known or bound or named or rate or unit in word_list("no_units"):
                continue
            for other in self._others(number, match["sign"] + unit, *key):
                if _keeps_order(number, other, numbers) and not _follows(before, number, other):
                    yield _put(fact, match.span("number"), other)

    def _others(self, number: str, unit: str, *key: object) -> Iterator[str]:
        """Numbers of the same unit and size in the corpus, and multiples where it has none."""
        value, known = _size(number), self._units[unit].items()
        yield from ranked([other for other, size in known if _differs(value, size, unit)], *key)
        digits, comma = len(number.partition(".")[2]), "," * ("," in number)
        for size in (2 * value, 3 * value, value // 2):
            if _differs(value, size, unit):
                yield f"{size:{comma}.{digits}f}"

    def _turned(self, fact: str, question: str, *key: object) -> Iterator[str]:
        """The fact with a phrase exchanged for its opposite, as often as the corpus has the opposite."""
        for match in filter(None, (phrases.search(fact) for phrases in _PHRASES)):
            phrase, other = match[0].lower(), _OTHER[match[0].lower()]
            open_ended = re.search(r"\b(?:may|might|can|could)\b[^,;]*$", fact[: match.start()])
            if phrase in question.lower() or open_ended or pattern("attribute").match(fact, match.start()):
                continue
            rare = drawn(fact, *key) * self._phrases[phrase] < 1 + self._phrases[other]
            if rare and _is_said(fact, *match.span()):
                yield _put(fact, match.span(), other)


def _kind(match: re.Match[str]) -> tuple[object, ...]:
    """What a name in a slot is like: the slot, its cue and the number of words."""
    return match.re.pattern, match.groupdict().get("cue"), len(match["value"].split())


def _size(number: str) -> float:
    return float(number.replace(",", ""))


def _keeps_order(number: str, other: str, numbers: Iterable[str]) -> bool:
    """Whether a number in place of another is on the same side of all the numbers around it."""
    old, new, rest = _size(number), _size(other), [_size(each) for each in numbers if each != number]
    return all(new != each and (old < each) == (new < each) for each in rest)


def _follows(before: str, number: str, other: str) -> bool:
    """Whether what is said of a number holds of the other too: "over 30" where it is over 100."""
    rule = "at_least" if _size(other) < _size(number) else "at_most"
    return any(pattern(each).search(before) for each in (rule, "either_way"))


def _differs(value: float, other: float, unit: str) -> bool:
    """Whether a number is plausible in place of another and surely differs: neither rounded nor absurd."""
    if (unit in {"%", "percent"} and not 0 < other < 100) or (value == 1) != (other == 1):  # "1 year"
        return False
    if value.is_integer() != other.is_integer() or (unit == "years" and value < 110 <= other):
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


def _is_said(fact: str, start: int, end: int) -> bool:
    """Whether a phrase is what the fact says, and all of it: not denied, quoted, supposed or explained."""
    before = fact[:start]
    quoted = before.count('"') % 2 or before.count("“") > before.count("”")
    unsaid = pattern("subordinate").search(before) or pattern("negation").search(before)
    goes_on = ". " in fact or pattern("explained").search(fact) or re.search("[,;:(—–]", fact[end:])
    return not (quoted or unsaid or goes_on)


def _dated(fact: str, question: str, *key: object) -> Iterator[str]:
    """The fact with its last year moved, on the same side of all the other years."""
    dates = list(pattern("year").finditer(fact))[-1:]
    if not dates or pattern("range").search(fact) or dates[0]["year"] in question:
        return
    year, others = int(dates[0]["year"]), [int(other) for other in re.findall(r"\b[12]\d{3}\b", fact)]
    for shift in ranked(("-19", "-14", "-11", "-9", "-7", "6", "8", "12", "17"), *key):
        moved = year + int(shift)
        between = all((moved < other) == (year < other) for other in others if other != year)
        before = fact[: dates[0].start("year")]
        if moved <= 2023 and between and not _follows(before, str(year), str(moved)):
            yield _put(fact, dates[0].span("year"), str(moved))


def _classed(fact: str, question: str, *key: object) -> Iterator[str]:
    """Another member of a closed class, in what the fact says of its subject."""
    clause = parse(fact)
    for match in _MEMBER.finditer(fact, len(fact) - len(clause.rest) if clause is not None else 1):
        word, before, after = match[0], fact[: match.start()], fact[match.end() :]
        group, everything = _CLASS_OF[word], f"{question} {fact}"
        kin = "|".join(each.rstrip("s") if len(each) < 6 else rf"{each[:5]}\w*" for each in group)
        alone = len(re.findall(rf"\b(?:{kin})s?\b", everything, re.I)) == 1
        framed = pattern("framed_before").search(before) and pattern("framed_after").match(after)
        unfit = pattern("joined").search(before) or pattern("open").search(before)
        sexed = word in {"men", "women", "males", "females"} and pattern("sexed").search(everything)
        late = pattern("late_before").search(before) or pattern("late_after").match(after)
        if not alone or unfit or sexed or ("July" in group and late) or (group in _FRAMED and not framed):
            continue
        yield from (_put(fact, match.span(), other) for other in ranked(group, *key) if other != word)
