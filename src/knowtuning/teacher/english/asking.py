"""What a question is about, questions that facts answer where a template parses, and facts as triples."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

from knowtuning.teacher.english import words as lists
from knowtuning.teacher.english.grammar import Clause, has_reference, kind_of, parse, words_of
from knowtuning.teacher.tasks import Triple

_MAX_TOPIC = 9  # words
_SMALL = lists.FUNCTION_WORDS | lists.word_list("generic")
# What a fact says after its subject {s}, and the question that asks for it. The first that matches holds.
_TEMPLATES = [(re.compile(rule), form) for form, rule in lists.PATTERNS.items() if form.endswith("?")]
_ABOUT = ["What can you tell me about {}?", "Can you tell me about {}?", "What is known about {}?"]
# Verbs that say something without another; what follows the others is the verb.
_FULL = lists.word_set("is are was were has have had")


def asked_about(question: str) -> str:
    """What a question of a known form is about, a name or a term with its article; "" for others."""
    match = lists.pattern("about").search(question.strip())
    about = match["about"].removeprefix("(are) ").strip() if match is not None else ""
    named = len(about.split()) < 9 and "," not in about and not lists.pattern("no_topic").search(about)
    return about if named else ""


@lru_cache(maxsize=100_000)
def topic_of(question: str, text: str) -> str:
    """The longest run of words of the question that its answer also has, as the question spells it.

    It begins and ends with a word of content; "" where there is none. "What are the symptoms of X?" has the
    topic X, whether or not the answer says "symptoms of X"."""
    words = [word.rstrip(".,:;") for word in re.findall(r"[^\s?!\"“”]+", question)]
    folded = " ".join(text.casefold().split())
    for size in range(min(_MAX_TOPIC, len(words)), 0, -1):
        for start in range(len(words) - size, -1, -1):
            run = words[start : start + size]
            ends = {run[0].lower(), run[-1].lower()}
            if ends & _SMALL or not any(len(word) > 2 for word in run):
                continue
            topic = " ".join(run)
            if re.search(rf"(?<!\w){re.escape(topic.casefold())}(?!\w)", folded):
                return topic
    return ""


def question_for(question: str, facts: Sequence[str], *key: object) -> str:
    """A question that all of the facts answer. Raises ValueError, saying why, where no template parses.

    Facts answer a question about the topic of their record's `question` if the first names it, and half of
    all. `key` makes the choice among equal forms."""
    if any(kind_of(fact) != "statement" or has_reference(fact) for fact in facts):
        raise ValueError("found a fact that is no statement of its own; no question can ask for it")
    about, topic = asked_about(question), topic_of(question, " ".join(facts))
    asked = list(dict.fromkeys(_question(fact, question) for fact in facts))
    if len(asked) == 1 and asked[0] is not None:
        return asked[0]
    if len(asked) == 2 and None not in asked:
        first, second = map(str, asked)
        return f"{first[:-1]}, and {second[0].lower()}{second[1:]}"
    rule = re.compile(rf"(?<!\w){re.escape(topic)}(?:s|'s)?(?!\w)", re.IGNORECASE)
    named = topic and re.sub(r"^(?:the|an?) ", "", about) == topic and rule.search(facts[0])
    if named and 2 * sum(bool(rule.search(fact)) for fact in facts) >= len(facts):
        return lists.ranked(_ABOUT, *key)[0].format(about)
    raise ValueError("found no template that asks for all facts; no question reads as a person's")


def opening_of(fact: str) -> str:
    """Subject and verb of a fact, with which an answer begins. Raises ValueError where none are plain."""
    clause = parse(fact)
    if clause is None:
        raise ValueError("found no plain subject and verb; no short answer can begin with them")
    return f"{clause.subject} {clause.verb}"


def _question(fact: str, question: str) -> str | None:
    """The question that one fact answers; None where no template parses, or it is about something else."""
    clause = parse(fact)
    subject = _spelt(clause.bare_subject, question) if clause is not None else ""
    if clause is None or not subject:
        return None
    for rule, form in _TEMPLATES:
        if match := rule.match(f"{clause.verb} {clause.rest}"):
            who = re.search(r"\bwho (?:is|are|was|were)\b(?! at risk)", question, re.I) is not None
            return _filled(form, match, clause, subject, who=who)
    return None


def _spelt(subject: str, question: str) -> str:
    """A subject as the question spells it; "" where the question does not name it."""
    bare = re.sub(r"^(?:the|an?) ", "", subject, flags=re.IGNORECASE)
    telling = {word.lower for word in words_of(bare)} - lists.FUNCTION_WORDS
    match = re.search(rf"(?<!\w){re.escape(bare)}(?!\w)", question, re.IGNORECASE)
    named = match is not None and telling and len(words_of(bare)) < 8
    return subject[: len(subject) - len(bare)].lower() + match[0] if match is not None and named else ""


def _filled(form: str, match: re.Match[str], clause: Clause, subject: str, *, who: bool) -> str:
    groups = match.groupdict(default="")
    named = lists.pattern("person_name").match(subject)
    person = who or (named and lists.pattern("lived").search(clause.rest))
    values = {
        "base": lists.BASES.get(groups.get("v", ""), groups.get("v", "")),
        "is": "are" if clause.plural else "is",
        "do": "do" if clause.plural else "does",
        "who": "Who" if person else "What",
        **groups,
        "s": subject,
    }
    return form.format(**values)


def triples_of(facts: Sequence[str]) -> list[Triple]:
    """The triples of the facts that are one, in their order. Raises ValueError where no fact is one."""
    triples = [triple for triple in map(_triple, facts) if triple is not None]
    if not triples:
        raise ValueError(f"none of {len(facts)} facts is plainly a subject, a predicate and an object")
    return triples


def _triple(fact: str) -> Triple | None:
    """A fact in three parts, which joined are its words; the predicate ends with the verb's preposition."""
    clause = parse(fact) if kind_of(fact) == "statement" and not has_reference(fact) else None
    if clause is None:
        return None
    words = clause.rest.rstrip(".").split()
    begins = int(clause.verb.lower() in lists.AUXILIARIES - _FULL)
    behind = enumerate(words[begins : begins + 2], begins + 1)
    ends = next((index for index, word in behind if word in lists.PREPOSITIONS), begins)
    remainder = " ".join(words[ends:])
    predicate = " ".join([clause.verb, *words[:ends]])
    return Triple(subject=clause.subject, predicate=predicate, object=remainder) if remainder else None
