"""Forms of the verbs in the tables: base, third person, past, participle."""

from __future__ import annotations

from functools import cache

from knowtuning.teacher.rules.tables import IRREGULAR_VERBS, REGULAR_VERBS, word_set

_DOUBLED = word_set("""
stop plan fit cut run get set put prefer refer stem stun step permit repel occur
""")


def third_person(base: str) -> str:
    """grow -> grows, carry -> carries, teach -> teaches."""
    if base == "have":
        return "has"
    if base[-1] == "y" and base[-2] not in "aeiou":
        return base[:-1] + "ies"
    return base + ("es" if base.endswith(("s", "x", "z", "ch", "sh", "o")) else "s")


def past(base: str) -> str:
    """grow -> grew, carry -> carried, use -> used."""
    if base in IRREGULAR_VERBS:
        return IRREGULAR_VERBS[base][0]
    return _suffixed(base, "ed")


def gerund(base: str) -> str:
    """use -> using, stop -> stopping."""
    return _suffixed(base, "ing")


def _suffixed(base: str, suffix: str) -> str:
    if base.endswith("e") and not (suffix == "ing" and base.endswith(("ee", "ye", "oe"))):
        return base[:-1] + suffix
    if suffix == "ed" and base[-1] == "y" and base[-2] not in "aeiou":
        return base[:-1] + "ied"
    return base + (base[-1] if base in _DOUBLED else "") + suffix


@cache
def lexicon() -> dict[str, tuple[str, str]]:
    """Finite form -> (base, tense), tense one of base, present (third person), past."""
    forms: dict[str, tuple[str, str]] = {}
    bases = dict.fromkeys([*REGULAR_VERBS, *IRREGULAR_VERBS])
    for base in bases:
        forms.setdefault(past(base), (base, "past"))
    for base in bases:
        forms[third_person(base)] = (base, "present")
        forms[base] = (base, "base")
    forms["founded"] = ("found", "past")
    forms["found"] = ("find", "past")
    return forms


def is_finite(word: str) -> bool:
    """Whether a lower-case word can be a finite form other than a bare base: flows, founded."""
    return word.islower() and lexicon().get(word, ("", "base"))[1] != "base"


@cache
def participles() -> frozenset[str]:
    """Past participles of the known verbs."""
    regular = {past(base) for base in REGULAR_VERBS if base not in IRREGULAR_VERBS}
    return frozenset(
        regular | {forms[1] for forms in IRREGULAR_VERBS.values()} | {"been", "situated", "born"}
    )


def is_participle(word: str) -> bool:
    """Whether a word can follow "is" as a passive: known, founded, located."""
    return word in participles() or (len(word) > 4 and word.endswith("ed") and not word.endswith("eed"))
