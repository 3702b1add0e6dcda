"""Just enough grammar: subject and verb of a clause, the kind of a sentence, what it leans on and follows."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from knowtuning.teacher.english import words as lists

_MAX_SUBJECT = 10  # words
ADVERB = lists.pattern("adverb")
_NO_SUBJECT = frozenset({"that", "which", "who", "because", "if", "when", ":", ";", "—", "–"})
_LEAD = lists.word_set("to if when once after before for with first second next then finally now also lastly")
_OPENS = lists.word_set("next then finally now also please always never simply carefully gently just slowly")
_JUDGEMENTS = lists.word_list("judgements")
_RELATIVES = lists.word_set("that which who where")
_POINTING = lists.word_set("this these those such")
_PERSONS = lists.word_set("he she him her his hers himself herself")
_LEANING = lists.PERSONAL | _POINTING | lists.word_list("leaning")


class Word(NamedTuple):
    """A word or mark with its place in the text."""

    text: str
    lower: str
    start: int
    end: int


class Clause(NamedTuple):
    """A sentence as subject, verb (its first word) and rest, as they stand in the text."""

    subject: str
    verb: str
    rest: str

    @property
    def bare_subject(self) -> str:
        """The subject without what stands in brackets or between commas."""
        return re.sub(r"\s*\([^)]*\)|,[^,]*,?$", "", self.subject).strip()

    @property
    def plural(self) -> bool | None:
        """Whether the verb is plural; None where its form does not tell."""
        verb = self.verb.lower()
        if verb in lists.SINGULAR_VERBS or verb in lists.BASES:
            return False
        return True if verb in lists.PLURAL_VERBS or verb in lists.BASE_VERBS else None


def words_of(text: str) -> list[Word]:
    """Words and marks of a text; hyphenated words, numbers with a point and contractions are one word."""
    matches = lists.pattern("word").finditer(text)
    return [Word(match[0], match[0].lower().replace("’", "'"), *match.span()) for match in matches]


def parse(sentence: str) -> Clause | None:
    """The clause of a sentence that opens with its subject; None where that is not plain."""
    words = words_of(sentence)
    first, unfit = words[0].lower if words else "", lists.SUBORDINATORS | lists.CONJUNCTIONS
    if len(words) < 3 or first in unfit or ADVERB.match(first):
        return None
    depth = commas = 0
    for index, word in enumerate(words[: 2 * _MAX_SUBJECT]):
        depth += (word.text in "([") - (word.text in ")]")
        commas += word.text == ","
        if depth or not index:
            continue
        if word.lower in _NO_SUBJECT or commas > 2:
            return None
        if is_verb(words, index):
            subject = sentence[: word.start].strip().rstrip(",")
            if commas == 1 or index > _MAX_SUBJECT * (2 if commas or "(" in subject else 1):
                return None
            last = subject.rsplit(" ", 1)
            subject = last[0] if len(last) == 2 and ADVERB.match(last[1].lower()) else subject
            return Clause(subject, word.text, sentence[word.end :].strip())
    return None


def is_verb(words: list[Word], index: int) -> bool:
    """Whether a word is a finite verb, by its form and the words beside it."""
    word, before = words[index].lower, words[index - 1].lower if index else ""
    if word in lists.AUXILIARIES:
        return index > 0 and words[index - 1].text != "to" and words[index].text[0].islower()
    unfit = lists.DETERMINERS | lists.PREPOSITIONS | {"and", "or", ","}
    if not index or before in unfit or not words[index].text.islower():
        return False
    if word in lists.BASES or word in lists.PAST_VERBS:
        following = words[index + 1].lower if index + 1 < len(words) else "."
        return following not in lists.AUXILIARIES and (following != "of" or word.startswith("consist"))
    subject = [item.lower for item in words[max(0, index - 5) : index]]
    plural = before in {"you", "we", "they"} or any(map(lists.pattern("plural").search, subject))
    return word in lists.BASE_VERBS and plural


def kind_of(sentence: str) -> str:
    """ "statement", or question, exclamation, instruction, opinion, reference (to a text) or fragment."""
    words = words_of(sentence)
    if "?" in sentence[-3:]:
        return "question"
    if not words or _is_cut(words) or lists.pattern("run_in").search(sentence):
        return "fragment"
    if sentence.rstrip('"”’)').endswith("!"):
        return "exclamation"
    if _instructs(words):
        return "instruction"
    judges = any(word.text in _JUDGEMENTS for word in words) and not lists.pattern("best").search(sentence)
    if judges or any(lists.pattern(name).search(sentence) for name in ("first_person", "advice")):
        return "opinion"
    if lists.pattern("document").search(sentence):
        return "reference"
    return "statement" if _has_verb(words_of(re.sub(r"\([^)]*\)", "", sentence))) else "fragment"


def _is_cut(words: list[Word]) -> bool:
    """Whether a sentence lacks its subject or its verb: "cells that carry oxygen" has one in its relative."""
    first, second = words[0].lower, words[min(1, len(words) - 1)].lower
    objects = (lists.DETERMINERS - {"that"}) | {"how", "what", "you"}
    if first in {"whether", "how", *lists.AUXILIARIES} or (first in lists.BASES and second in objects):
        return True
    at = next((index for index, word in enumerate(words[:7]) if word.lower in _RELATIVES), 0)
    before = words[:at]
    if not at or "," in {word.text for word in before} or any(is_verb(words, index) for index in range(at)):
        return False
    verbs = [index for index in range(at + 1, len(words)) if _finite(words, index)]
    embedded = before[-1].lower in lists.PREPOSITIONS or {*verbs[:1]} <= {at + 1, at + 2}
    return len(verbs) <= embedded and not lists.pattern("contraction").match(first)


def _finite(words: list[Word], index: int) -> bool:
    """Whether a word is a verb of its own: not "found" in "is found" and in "blood found in a vein"."""
    word, before = words[index].lower, words[index - 1].lower
    if word in lists.BASE_VERBS:
        return before not in lists.DETERMINERS | lists.PREPOSITIONS | {"and", "or", ","}
    following = words[index + 1].lower if index + 1 < len(words) else ""
    part = before in lists.AUXILIARIES or following in lists.PREPOSITIONS
    return is_verb(words, index) and (word in lists.AUXILIARIES | lists.BASES.keys() or not part)


def _has_verb(words: list[Word]) -> bool:
    contracted = bool(words and lists.pattern("contraction").match(words[0].lower))
    for index in range(1, len(words)):
        noun = words[index - 1].lower in lists.DETERMINERS | lists.PREPOSITIONS
        if contracted or is_verb(words, index) or (words[index].lower.endswith("ed") and not noun):
            return len(words) > 2
        # A verb that is in no list: "The lake teems with pike", but not "parts of the body".
        following = words[index + 1].lower if index + 1 < len(words) else ""
        opens = following in lists.DETERMINERS | {"in", "at", "on", "to", "by", "with"}
        opens = opens or (following == "." and len(words) < 5)
        if re.search(r"[a-z][^su]s$", words[index].text) and opens and not noun:
            return words[0].lower not in lists.PREPOSITIONS
    return False


def _instructs(words: list[Word]) -> bool:
    """Whether a sentence tells somebody to do something, at once or behind a purpose or a condition."""
    if words[0].lower in {"please", "let's", "remember", "don't", "do"} or _orders(words, 0):
        return True
    commas = [index for index, word in enumerate(words) if word.text == ","][:2]
    behind = words[0].lower in _LEAD and any(_orders(words, comma + 1) for comma in commas)
    return behind or (words[0].lower in _OPENS and _orders(words, 1))


def _orders(words: list[Word], index: int) -> bool:
    """Whether a word is a verb that orders: "Press freedom matters" and "Exercise is" have a noun."""
    if index >= len(words) or words[index].lower not in lists.IMPERATIVES:
        return False
    after = words[index + 1 : index + 4]
    if not after or after[0].lower in lists.DETERMINERS:
        return True
    finite = lists.AUXILIARIES | lists.BASES.keys()
    return after[0].lower not in {"of", "and", "or"} and not any(word.lower in finite for word in after)


def depends_on(facts: Sequence[str]) -> list[int | None]:
    """For each fact the one before that its pronoun, "this" or "such" means; None for none or no English."""
    if not lists.is_english(" ".join(facts)):
        return [None] * len(facts)
    return [index - 1 if index and has_reference(fact) else None for index, fact in enumerate(facts)]


def has_reference(sentence: str) -> bool:
    """Whether a sentence leans on one before it: by a pronoun, "this", "such", "the former", a connective."""
    # "It's" and "they're" lean as "it" and "they" do.
    words = [word._replace(lower=word.lower.partition("'")[0]) for word in words_of(sentence)]
    leans = words and words[0].lower in _LEANING and not lists.pattern("expletive").match(sentence)
    if leans or lists.pattern("leaning_phrase").search(sentence):
        return True
    pronouns = lists.PERSONAL | _POINTING
    return any(word.lower in pronouns and _dangles(sentence, words, at) for at, word in enumerate(words))


def _dangles(sentence: str, words: list[Word], index: int) -> bool:
    """Whether a pronoun inside a sentence has nothing before it that it can stand for."""
    word, following = words[index].lower, words[index + 1].lower if index + 1 < len(words) else ""
    before = [item for item in words[:index] if item.text[0].isalpha()]
    others = lists.FUNCTION_WORDS | lists.BASES.keys() | lists.BASE_VERBS
    nouns = [it for it in before if it.lower not in others and not ADVERB.match(it.lower)]
    if word == "such":
        return following not in {"as", "a", "an", ","} and index < 4
    if word in _POINTING:
        if following in lists.word_set("who with that in of from which without"):
            return False
        # "…, and this leads to …" points back into its own sentence.
        mark, verb = words[index - 1].text, following in lists.AUXILIARIES | lists.BASES.keys()
        inside = verb or mark == ";" or (mark == "," and words[0].lower not in lists.SUBORDINATORS)
        return not inside or len(nouns) < 3
    if word == "it" and lists.pattern("expletive").match(sentence[words[index].start :]):
        return False
    clause = parse(sentence) if word in {"them", "him"} else None
    if clause is not None and not any(noun.start > len(clause.subject) for noun in nouns):
        return True  # An object is not its own subject.
    if word in _PERSONS:
        # A person is a name, or whoever the sentence opens with ("A patient …").
        named = any(item.text[0].isupper() for item in nouns)
        return not named and nouns[:1] != before[:1] and len(nouns) < 2
    plural = [bool(lists.pattern("plural").search(item.lower)) for item in nouns]
    return not any(plural) if word.startswith("the") and len(nouns) < 4 else all(plural)


def links_of(facts: Sequence[str]) -> list[tuple[int, int]] | None:
    """Signs that facts hang together in their order: pairs of which the first must stand before the second.
    A list has none; None if not English."""
    if not lists.is_english(" ".join(facts)):
        return None
    going_on = [at for at, fact in enumerate(facts) if at and lists.pattern("goes_on").search(fact)]
    links = [(at - 1, at) for at in going_on] + _dated(facts)
    for first, fact in enumerate(facts):
        rules = [rf"(?<![\w-]){rule}(?:s|['’]s)?(?![\w-])" for rule in dict.fromkeys(_introduced(fact))]
        new = [rule for rule in rules if not re.search(rule, " ".join(facts[:first]), re.I)]
        after = range(first + 1, len(facts))
        links += [(first, at) for rule in new for at in after if re.search(rule, facts[at], re.I)]
    return links


def _introduced(fact: str) -> Iterator[str]:
    """What a fact defines, speaks of as new or names in full: rules for how later facts come back to it."""
    clause = parse(fact)
    copula = clause is not None and clause.verb in {"is", "are", "was", "were"}
    named = clause is not None and clause.bare_subject.lower() not in {"there", *lists.word_list("personal")}
    if clause is not None and named and copula and lists.pattern("defines").match(clause.rest):
        yield re.escape(re.sub(r"^(?:The|An?) ", "", clause.bare_subject))
    for match in lists.pattern("new_noun").finditer(fact):
        if match["noun"] not in lists.word_list("vague"):
            yield rf"(?:the|these|those|its|their) (?:\w+ )?{match['noun']}"
    yield from (match["short"] for match in lists.pattern("acronym").finditer(fact))
    yield from (rf"(?<!{name['first']} ){name['last']}" for name in lists.pattern("full_name").finditer(fact))


def _dated(facts: Sequence[str]) -> list[tuple[int, int]]:
    """Facts in the order of their years, if all that have a year are in it."""
    matches = [(lists.pattern("any_year").search(fact), at) for at, fact in enumerate(facts)]
    years = [(int(match[0]), at) for match, at in matches if match is not None]
    later = [(at, other) for year, at in years for next_year, other in years if next_year > year]
    return later if years == sorted(years) else []
