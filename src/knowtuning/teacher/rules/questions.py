"""Questions whose answer is a given fact, from the fact's own words."""

from __future__ import annotations

import re
from collections.abc import Sequence

from knowtuning.teacher.rules.frames import subject_of
from knowtuning.teacher.rules.grammar import Clause, parse
from knowtuning.teacher.rules.tables import (
    ADVERBS,
    AUXILIARIES,
    CONTRAST_SETS,
    DETERMINERS,
    FUNCTION_WORDS,
    PERSON_NOUNS,
    PLACE_VERBS,
    PREPOSITIONS,
    RELATIVES,
    SUBJECT_PRONOUNS,
    word_set,
)
from knowtuning.teacher.rules.tokens import capitalise, is_capitalised, names, tokenise, uncapitalise
from knowtuning.teacher.rules.verbs import is_participle, lexicon

_TIME = re.compile(
    rf"^(?:the\s+)?(?:(?:early|late|mid)[\s-]+)?(?:(?:{'|'.join(CONTRAST_SETS[0])})\b|\d{{3,4}}s?\b|\d{{1,2}}(?:st|nd|rd|th)\s"
    r"|(?:\w+teenth|\w+tieth|first|second|third|fourth|fifth|sixth|seventh|eighth|ninth|tenth|eleventh|twelfth|"
    r"twenty-first)\s+century)"
)
_QUESTION_HEAD = re.compile(
    r"^(?:please\s+)?(?:tell me (?:something |more |all )?about|what(?:'s| is| are| was| were)(?: \(are\))?|"
    r"who(?:'s| is| are| was| were)|define|describe|"
    r"explain(?: to me)?(?: what (?:is|are))?|give me (?:a|an|some) \w+ (?:of|about|on)|summari[sz]e)\s+",
    re.IGNORECASE,
)
_MAX_SUBJECT_WORDS = 8
_MAX_TOPIC_WORDS = 7
_MAX_PHRASES = 3
_COPULA = frozenset({"is", "are", "was", "were"})


def question_for(question: str, facts: Sequence[str], vocabulary: frozenset[str]) -> tuple[str, int]:
    """A question that the facts answer, and how many of them only its general part asks for.

    Facts with a question form of their own give one sub-question each, in order; the others share
    one that names the topic of the original question and their key phrases.
    """
    asked = [ask(fact, question, vocabulary) for fact in facts]
    left = [fact for fact, form in zip(facts, asked, strict=True) if form is None]
    parts = list(dict.fromkeys(form for form in asked if form is not None))
    topic = f"Regarding {_topic(question)}: "
    if parts and not any(_stands_alone(part, question) for part in parts):
        parts[0] = f"{topic}{parts[0][0].lower()}{parts[0][1:]}"
    if left:
        general = general_question(question, left, vocabulary)
        said = any(part.startswith(topic) for part in parts)
        parts.append(capitalise(general.removeprefix(topic)) if said else general)
    return " ".join(parts), len(left)


def _stands_alone(part: str, question: str) -> bool:
    """Whether a sub-question holds a name, or names something of the original question."""
    known = {token.word.lower()[:5] for token in tokenise(question)}
    words = [token.word for token in tokenise(part)][1:]
    content = (word for word in words if word[0].isalpha() and word.lower() not in FUNCTION_WORDS)
    return any(is_capitalised(word) or word.lower()[:5] in known for word in content)


def ask(fact: str, question: str, vocabulary: frozenset[str]) -> str | None:
    """The question that a simple sentence answers, or None where no template fits surely.

    It asks for what is said of the topic: for the subject where the predicate names the topic.
    """
    clause = parse(fact)
    if clause is None or fact[-1:] in "?:" or not _is_topic(clause.subject):
        return None
    subject = uncapitalise(clause.subject, vocabulary)
    complement = re.split(r"[,;:(]", clause.rest.strip().rstrip(".!"))[0].strip()
    if not complement or complement.startswith(("not ", "never ", "no ")):
        return None
    topic = subject_of(fact, question)
    if topic and topic in question and topic not in clause.subject and topic in complement:
        return _ask_subject(clause, complement)
    if clause.verb in _COPULA:
        return _ask_copula(clause.verb, subject, complement)
    if clause.tense == "aux":
        return _ask_auxiliary(clause.verb, subject, complement)
    return _ask_verb(clause, subject, complement)


def _ask_subject(clause: Clause, complement: str) -> str | None:
    """Marn Tessel founded X. -> Who founded X?"""
    if clause.tense not in {"present", "past"} and clause.verb not in {"is", "was", "has"}:
        return None
    return f"{'Who' if _is_person(clause.subject) else 'What'} {clause.verb} {complement}?"


def _is_topic(subject: str) -> bool:
    words = [word.strip(",()").lower() for word in subject.split()]
    vague = words[0] in (SUBJECT_PRONOUNS | DETERMINERS | {"there", "here", "it's"}) - {
        "the",
        "a",
        "an",
        "some",
        "many",
        "most",
    }
    vague = vague or (len(words) == 1 and words[0] in DETERMINERS)
    clean = not any(mark in subject for mark in '(),:;"“”[]*')
    return (
        not vague
        and clean
        and len(words) <= _MAX_SUBJECT_WORDS
        and not (RELATIVES & set(words))
        and words[0] != "not"
    )


def _ask_copula(verb: str, subject: str, complement: str) -> str | None:
    words = complement.split()
    head = [word for word in words if word.lower() not in ADVERBS] or words
    first = head[0].lower()
    if first in {"because", "that", "when", "where", "why", "how", "to", "what", "like", "about", "if"}:
        return None
    if is_participle(first) and len(head) > 1 and (first in _NAMING or head[1].lower() in PREPOSITIONS):
        return _ask_passive(verb, subject, head)
    if first in PREPOSITIONS:
        return (
            f"Where {verb} {subject}?"
            if first in {"in", "on", "at", "near"} and not _TIME.match(" ".join(head[1:]))
            else None
        )
    if first.endswith("ing"):
        return (
            f"What {verb} {subject} {head[0]}?"
            if len(head) > 1 and head[1].lower() in {"the", "a", "an"}
            else None
        )
    if subject.split()[0] in {"many", "some", "most"}:
        return None
    defines = first in DETERMINERS or head[0][0].isupper() or head[0][0].isdigit() or _is_definite(subject)
    if not defines and is_participle(first):
        return None
    if not defines:
        return f"How can {subject} be described?" if len(head) < 7 and not first.endswith("er") else None
    return f"{_who_or_what(subject, head)} {verb} {subject}?"


def _is_definite(subject: str) -> bool:
    """Whether a subject names an attribute ("the main export of X"), which its value answers."""
    return " of " in subject or "'s " in subject or "’s " in subject


def _who_or_what(subject: str, complement: Sequence[str]) -> str:
    noun = {word.strip(".,").lower() for word in complement[: _noun_phrase_end(complement)]}
    person = bool(noun & PERSON_NOUNS) and subject[:1].isupper()
    role = bool(set(re.split(r" of | for ", subject)[0].lower().split()[-1:]) & PERSON_NOUNS)
    return "Who" if person or (role and complement[0][0].isupper()) else "What"


def _noun_phrase_end(words: Sequence[str]) -> int:
    for position, word in enumerate(words):
        if word.lower() in PREPOSITIONS | RELATIVES:
            return position
    return len(words)


def _ask_passive(verb: str, subject: str, words: Sequence[str]) -> str | None:
    """X was founded by Y -> Who was X founded by?"""
    participle = words[0].lower()
    if participle in _NAMING and words[1].lower() not in PREPOSITIONS:
        return f"What {verb} {subject} {participle}?"
    preposition, value = words[1].lower(), " ".join(words[2:])
    if preposition not in PREPOSITIONS or not value:
        return None
    return _ask_place_or_time(verb, subject, participle, preposition, value)


def _ask_place_or_time(verb: str, subject: str, participle: str, preposition: str, value: str) -> str | None:
    stem = f"{verb} {subject} {participle}".strip()
    if preposition in {"in", "on", "at", "during"} and _TIME.match(value):
        return f"When {stem}?"
    if preposition in {"in", "on", "at", "near"} and (
        participle in PLACE_VERBS or value.split()[-1][0].isupper()
    ):
        return f"Where {stem}?"
    if preposition == "by":
        gerund = value.split()[0].endswith("ing")
        return f"How {stem}?" if gerund else f"{'Who' if _is_person(value) else 'What'} {stem} by?"
    if preposition in {"for", "as", "from", "with", "of", "on", "to", "into", "at", "after", "about"}:
        infinitive = (
            preposition == "to" and value.split()[0].islower() and value.split()[0] not in DETERMINERS
        )
        return None if infinitive and participle not in {"used"} else _preposed(stem, preposition, infinitive)
    return None


def _preposed(stem: str, preposition: str, infinitive: bool) -> str:
    return f"What {stem} for?" if infinitive else f"What {stem} {preposition}?"


def _is_person(value: str) -> bool:
    """Two or three capitalised words and nothing else, or a noun for a person."""
    words = value.split()
    words = words[: _noun_phrase_end(words)]
    capitals = 2 <= len(words) <= 3 and all(word[0].isupper() and word.isalpha() for word in words)
    return capitals or bool({word.lower() for word in words[:4]} & PERSON_NOUNS)


def _ask_auxiliary(verb: str, subject: str, complement: str) -> str | None:
    words = complement.split()
    first = words[0].lower()
    if verb in {"has", "have", "had"}:
        return _ask_have(verb, subject, words)
    if verb not in {"can", "should", "must", "will", "may", "could", "might"} or first in ADVERBS:
        return None
    if first == "be":
        return _ask_modal_passive(verb, subject, words)
    follows = words[1].lower() if len(words) > 1 else ""
    if lexicon().get(first, ("", ""))[1] == "base" and follows and follows not in PREPOSITIONS | ADVERBS:
        return None if first in _INTRANSITIVE else f"What {verb} {subject} {first}?"
    return f"What {verb} {subject} do?" if verb in {"can", "should", "must"} else None


def _ask_modal_passive(verb: str, subject: str, words: Sequence[str]) -> str | None:
    """X can be used for Y -> What can X be used for?"""
    if len(words) < 4 or not is_participle(words[1].lower()) or words[2].lower() not in _PASSIVE_LINKS:
        return None
    if words[2].lower() == "by" and words[3].endswith("ing"):
        return f"How {verb} {subject} be {words[1]}?"
    return f"What {verb} {subject} be {words[1]} {words[2].lower()}?"


def _ask_have(verb: str, subject: str, words: Sequence[str]) -> str | None:
    do = {"has": "does", "have": "do", "had": "did"}[verb]
    if is_participle(words[0].lower()) or words[0].lower() in {"to", "been"} or words[0].lower() in ADVERBS:
        return None
    counted = re.match(r"^(?:about |around |over |roughly |approximately )?[\d,.]+ (\w+s)\b", " ".join(words))
    return f"How many {counted.group(1)} {do} {subject} have?" if counted else f"What {do} {subject} have?"


def _ask_verb(clause: Clause, subject: str, complement: str) -> str | None:
    """X lies in Y -> Where does X lie?  X exports Y -> What does X export?"""
    do = {"present": "does", "past": "did", "base": "do"}[clause.tense]
    words = complement.split()
    first, value = words[0].lower(), " ".join(words[1:])
    if first in PREPOSITIONS - {"to"} and value:
        if first in {"in", "on", "at", "during"} and _TIME.match(value):
            return f"When {do} {subject} {clause.base}?"
        if first == "from" and _TIME.match(value):
            return f"When {do} {subject} {clause.base} from?"
        if first in {"in", "on", "at", "near", "along", "beside"} and clause.base in _PLACE_BASES:
            return f"Where {do} {subject} {clause.base}?"
        return (
            f"What {do} {subject} {clause.base} {first}?" if first in _STRANDED.get(clause.base, ()) else None
        )
    if first in ADVERBS | RELATIVES | {"to", "and", "or"} or clause.base in _INTRANSITIVE:
        return None
    return f"What {do} {subject} {clause.base}?"


def general_question(question: str, facts: Sequence[str], vocabulary: frozenset[str]) -> str:
    """A question on the topic of the original one that names key phrases of the facts."""
    topic = _topic(question)
    phrases = [phrase for fact in facts if (phrase := _key_phrase(fact, question, vocabulary))]
    named = list(dict.fromkeys(phrases))[:_MAX_PHRASES]
    if not named:
        return f"Regarding {topic}: what else should one know?"
    listed = " and ".join([", ".join(named[:-1]), named[-1]] if len(named) > 1 else named)
    return f"Regarding {topic}: what should one know about {listed}?"


def _topic(question: str) -> str:
    """The topic in the question's own words, or the question itself in quotation marks."""
    bare = " ".join(question.split()).rstrip(" ?.!")
    head = _QUESTION_HEAD.match(bare)
    rest = bare[head.end() :] if head else ""
    if rest and _is_noun_phrase(rest):
        return rest
    quoted = bare.replace('"', "'")
    return f'the question "{quoted}"'


def _is_noun_phrase(rest: str) -> bool:
    words = [word.strip(",.'").lower() for word in rest.split()]
    verbal = any(word in AUXILIARIES | SUBJECT_PRONOUNS for word in words)
    verbal = verbal or words[0] in PREPOSITIONS
    dangling = words[-1] in PREPOSITIONS | ADVERBS or is_participle(words[-1])
    return len(words) <= _MAX_TOPIC_WORDS and not verbal and not dangling and not re.search(r"[?!\":;]", rest)


def _key_phrase(fact: str, question: str, vocabulary: frozenset[str]) -> str:
    """The subject of a fact where it is a noun phrase, else a name in it that the question lacks."""
    clause = parse(fact)
    folded = question.casefold()
    if clause is not None and _is_topic(clause.subject) and clause.subject.casefold() not in folded:
        return uncapitalise(clause.subject, vocabulary)
    tokens = tokenise(fact)
    found = [
        f"the {name.text}" if tokens[name.first - 1].word == "the" else name.text
        for name in names(tokens, fact)
        if name.first and name.text.casefold() not in folded and len(name.text) > 2
    ]
    return max(found, key=len) if found else _object_phrase(fact, folded)


def _object_phrase(fact: str, folded: str) -> str:
    """The longest noun phrase of two or three content words that small words delimit; "" without one."""
    tokens = [token.word for token in tokenise(fact)]
    best: list[str] = []
    for start, opener in enumerate(tokens):
        if opener.lower() not in _OPENERS:
            continue
        end = start + 1
        while end < len(tokens) and _is_content(tokens[end]):
            end += 1
        run = tokens[start + 1 : end]
        closed = end == len(tokens) or tokens[end].lower() in _CLOSERS
        if (
            closed
            and 2 <= len(run) <= 3
            and " ".join(run).casefold() not in folded
            and len(run) > len(best) - 1
        ):
            best = [opener.lower(), *run] if opener.lower() in {"the", "a", "an"} else run
    return " ".join(best)


def _is_content(word: str) -> bool:
    lower = word.lower()
    verbal = lexicon().get(lower, ("", ""))[1] in {"present", "past"} and not lower.endswith("s")
    return (
        word.isalpha()
        and lower not in FUNCTION_WORDS | {"versus"}
        and not verbal
        and not lower.endswith("ly")
    )


_PLACE_BASES = word_set("lie live stand sit reside occur grow begin start originate play")
_STRANDED = {
    "consist": ("of",),
    "belong": ("to",),
    "depend": ("on",),
    "focus": ("on",),
    "refer": ("to",),
    "deal": ("with",),
    "result": ("in", "from"),
    "lead": ("to",),
    "compete": ("with", "for"),
    "specialize": ("in",),
    "aim": ("for",),
    "stand": ("for",),
    "come": ("from",),
    "rely": ("on",),
    "suffer": ("from",),
    "feed": ("on",),
    "border": ("on",),
}
_OPENERS = frozenset({"the", "a", "an", "of", "with", "for", "by"})
_CLOSERS = PREPOSITIONS | RELATIVES | AUXILIARIES | {"and", "or", ",", ".", ";", ":", "!", "?", ")"}
_NAMING = frozenset({"called", "named"})
_PASSIVE_LINKS = frozenset({"for", "as", "with", "by", "from"})
_INTRANSITIVE = word_set("become seem appear remain go die happen need tend try want feel look stay act help")
