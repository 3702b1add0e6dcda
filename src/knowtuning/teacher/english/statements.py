"""Atomic facts: the statements of an answer that stand alone, in its words and its order.

A sentence that leans on the one before has its pronoun replaced where plain, else joins it, else is left out.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain

from knowtuning.core.text import words
from knowtuning.teacher.english import words as lists
from knowtuning.teacher.english.asking import asked_about, topic_of
from knowtuning.teacher.english.grammar import Clause, has_reference, is_verb, kind_of, parse, words_of
from knowtuning.teacher.english.markup import Block, blocks_of

MAX_GROWTH = 1.1  # the joined facts to the answer, in characters
_MAX_JOINED = 3  # sentences in one fact
_MAX_LIST = 300  # characters of a list in one fact


@dataclass
class _Reading:
    """What has been read of an answer so far.

    budget: characters that names in place of pronouns may still add. open: whether the last fact ends with
    the sentence before. antecedent: the clause whose subject a pronoun would mean."""

    question: str
    topic: str
    budget: int
    facts: list[list[str]] = field(default_factory=list)
    open: bool = False
    antecedent: Clause | None = None
    left_out: Counter[str] = field(default_factory=Counter)


def extract(question: str, answer: str) -> list[str]:
    """The facts of an answer, as often as it states them. Raises ValueError where none stands alone."""
    if not answer.strip():
        raise ValueError("found an empty answer; expected a text with at least one fact")
    blocks = blocks_of(answer)
    lists.check_english(answer)
    topic = topic_of(question, answer.replace(question.strip(), ""))
    reading = _Reading(question, topic, int((MAX_GROWTH - 1) * len(answer)), antecedent=_about(question))
    for block in blocks:
        if block.items:
            _read_list(reading, block)
        else:
            _read_prose(reading, lists.split_sentences(block.text))
    facts = [" ".join(sentences) for sentences in reading.facts] or _steps(blocks)
    if not facts:
        others = ", ".join(f"{kind}s" for kind in sorted(reading.left_out)) or "headings"
        raise ValueError(f"found no statement that stands alone, only {others}")
    return facts


def _about(question: str) -> Clause | None:
    """What "it" or "this condition" means before anything is said: what the question is about."""
    about = asked_about(question)
    return Clause(about[0].upper() + about[1:], "is", "condition disease disorder") if about else None


def _read_prose(reading: _Reading, sentences: Sequence[str]) -> None:
    reading.open, reading.antecedent = False, None if reading.facts else reading.antecedent
    for sentence in sentences:
        _read(reading, _whole(sentence))


def _whole(sentence: str) -> str:
    """A sentence without the heading, the "yes" or the adding connective that stands before it."""
    bare = lists.pattern("adding").sub("", re.sub(r"^[-•]\s+(?=[A-Za-z])", "", sentence))
    bare = lists.pattern("heading_before").sub("", bare)
    label = lists.pattern("label").match(bare)
    named = words_of(label["label"]) if label is not None else []
    if label is not None and not any(is_verb(named, at) for at in range(len(named))):
        # A label says what the rest is about, unless that says it again or it is a condition.
        again = {word.lower for word in named} & set(words(bare[label.end() :])) - lists.FUNCTION_WORDS
        bare = bare if named[0].lower in lists.SUBORDINATORS else bare[label.end() :] if again else ""
    # But for "pH" and "iPhone", whose spelling is their own.
    return bare if re.match(r"[a-z]+[A-Z]", bare) else bare[:1].upper() + bare[1:]


def _read(reading: _Reading, sentence: str) -> None:
    """Take a sentence as a fact, with the fact before it, or not at all."""
    kind = kind_of(sentence)
    kind = "fragment" if kind == "statement" and not _ended(sentence) else kind
    if kind != "statement":
        reading.left_out[kind] += 1
        reading.budget += len(sentence)
        reading.open, reading.antecedent = False, None if reading.facts else _about(reading.question)
        return
    resolved = _resolve(reading, sentence)
    if resolved is not None or not (has_reference(sentence) or _again(reading, sentence)):
        reading.antecedent = parse(sentence) if resolved is None else reading.antecedent
        reading.budget -= len(resolved or sentence) - len(sentence)
        reading.facts.append([resolved or sentence])
        reading.open = True
    elif reading.open and len(reading.facts[-1]) < _MAX_JOINED:
        reading.facts[-1].append(sentence)
        reading.antecedent = None
    else:
        reading.left_out["dependent sentence"] += 1
        reading.open, reading.antecedent = False, None


def _again(reading: _Reading, sentence: str) -> bool:
    """Whether "the sauce" of a sentence means one that only the sentences before it speak of."""
    before, about = " ".join(chain(*reading.facts)), f"{reading.question} {reading.topic}".lower()
    nouns = {match["noun"] for match in lists.pattern("again").finditer(sentence)} - lists.word_list("vague")
    new = rf"\b(?:an?|another|two|three|several) (?:[\w-]+ ){{0,2}}(?:{'|'.join(nouns) or '-'})\b"
    back = [match[0].split()[-1] for match in re.finditer(new, before)]
    back += [match["noun"] for match in lists.pattern("back").finditer(sentence)]
    return any(noun.rstrip("s") not in about for noun in back)


def _ended(sentence: str) -> bool:
    """Whether a sentence is whole: it has its full stop, or is long and no title."""
    if re.sub(r"(?:\[\d+\])+$", "", sentence).rstrip('"”’)').endswith((".", ";")):
        return True
    words = [word.text for word in words_of(sentence) if word.text[0].isalpha()]
    titled = 2 * sum(word[0].islower() for word in words) <= len(words)
    return len(words) > 5 and not titled and sentence[-1] not in ":," and parse(sentence) is not None


def _resolve(reading: _Reading, sentence: str) -> str | None:
    """The sentence with its leading pronoun replaced; None where the antecedent is not plain."""
    clause = reading.antecedent
    match = lists.pattern("pronoun").match(sentence) or lists.pattern("named_again").match(sentence)
    if match is None or clause is None or not has_reference(sentence):
        return None
    subject, words = clause.bare_subject, words_of(clause.bare_subject)
    resolved, growth = subject + sentence[match.end() :], len(subject) - len(match["pronoun"])
    plain = words[0].lower not in lists.FUNCTION_WORDS - {"the", "many", "most", "some"} and len(words) < 8
    if growth > reading.budget or not plain or re.search("[,:;]", subject) or has_reference(resolved):
        return None
    return resolved if _means(match, clause, subject, reading.topic) else None


def _means(match: re.Match[str], clause: Clause, subject: str, topic: str) -> bool:
    """Whether the pronoun of a sentence means the subject of the clause before it."""
    copula = clause.verb in {"is", "was", "are", "were"}
    on_topic = bool(topic) and topic.casefold() in subject.casefold()
    if match["pronoun"] in {"He", "She"}:
        names = re.findall(r"(?:[A-Z][a-z]+ ){1,2}[A-Z][a-z]+", clause.rest)
        return lists.pattern("person").match(subject) is not None and (on_topic or not names)
    if match["pronoun"] == "They":
        return clause.plural is True and (copula or on_topic)
    if match["pronoun"] != "It":
        return copula and match["noun"] in clause.rest.lower() and clause.plural is False
    return clause.plural is False and " and " not in subject and (copula or on_topic)


def _read_list(reading: _Reading, block: Block) -> None:
    """Items that are statements of their own as facts; others once, behind their lead-in."""
    items = [lists.split_sentences(item) for item in block.items]
    alone = [sentences for sentences in items if sentences and _stands(_whole(sentences[0]))]
    lead = lists.split_sentences(block.text)[-1] if block.text else ""
    joined = _joined(lead, block.items) if len(alone) < len(items) else None
    if joined is not None:
        reading.facts.append([joined])
        return
    reading.left_out += Counter({"list item": len(items) - len(alone)})
    for sentences in alone:
        _read_prose(reading, sentences)


def _joined(lead: str, items: Sequence[str]) -> str | None:
    """ "lead: a, b, c." as one fact; None where the lead-in is no statement, or the items are long."""
    bare = [item.rstrip(" .;,") for item in items]
    if not lead or sum(map(len, bare)) > _MAX_LIST or any(re.search(r"[.!?:]\s", item) for item in bare):
        return None
    head = re.sub(r"\s*:?$", "", re.sub(r",? (?:the|as) (?:following|follows)\b(?: \w+)?", "", lead))
    verb = any(word.lower in lists.AUXILIARIES | lists.word_list("lead_verbs") for word in words_of(head))
    if not verb or len(head.split()) < 3 or not _stands(f"{head} things."):
        return None
    comma = "; " if any("," in item for item in bare) else ", "
    return f"{head}: {comma.join(bare)}."


def _stands(sentence: str) -> bool:
    return kind_of(sentence) == "statement" and _ended(sentence) and not has_reference(sentence)


def _steps(blocks: Sequence[Block]) -> list[str]:
    """The steps of an answer that is a list of instructions alone, each clear without the others."""
    steps = [[item.strip() for item in block.items] for block in blocks if block.items]
    if len(steps) != 1 or len(steps[0]) < 3 or any(map(has_reference, steps[0])):
        return []
    kinds = {kind_of(lists.split_sentences(item)[0]) if item.endswith(".") else "" for item in steps[0]}
    return steps[0] if {"instruction"} <= kinds <= {"instruction", "fragment"} else []
