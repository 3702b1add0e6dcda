"""How the world speaks: its attributes in canonical order, their sentences and their questions.

Every sentence template can be read back (`{e}` the town, `{v}` the value), so a generated answer can be
verified exactly. The templates of an attribute differ in wording and not in meaning. Connected prose has
three more things, which are read back too: a pronoun for the town that is the subject of the clause before,
two clauses joined by ", and", and an adverb at the beginning.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

# A town: attribute -> value.
Town = dict[str, str]


@dataclass(frozen=True)
class Attribute:
    """One attribute of a town. `templates` occur in the corpus, `questions` ask for it in the world's data.

    rephrasings, requests: further sentences and questions, which only the world's teacher writes. In a
    request "it" may stand for {e}; none is a question of the data.
    """

    name: str
    templates: tuple[str, ...]
    questions: tuple[str, ...]
    rephrasings: tuple[str, ...]
    requests: tuple[str, ...]

    @property
    def forms(self) -> tuple[str, ...]:
        """All sentences that state the attribute."""
        return self.templates + self.rephrasings


def has_subject(template: str) -> bool:
    """Whether the town is the subject of the sentence, and not the owner of its subject."""
    return template.startswith("{e} ")


# The order of this table is the canonical order of facts in an answer.
ATTRIBUTES: tuple[Attribute, ...] = (
    Attribute(
        "region",
        templates=("{e} lies in the {v}.", "{e} is located in the {v}.", "{e} is situated in the {v}."),
        questions=("Where does {e} lie?", "Where is {e} located?"),
        rephrasings=("{e} can be found in the {v}.", "The region of {e} is the {v}."),
        requests=("In which region does {e} lie?", "Where can {e} be found?"),
    ),
    Attribute(
        "century",
        templates=("{e} dates from the {v} century.", "{e} dates back to the {v} century."),
        questions=("When does {e} date from?", "What century does {e} date from?"),
        rephrasings=("{e} goes back to the {v} century.", "The origins of {e} lie in the {v} century."),
        requests=("How far back does {e} date?", "In which century did {e} begin?"),
    ),
    Attribute(
        "founder",
        templates=("{e} was founded by {v}.", "{e} was established by {v}."),
        questions=("Who was {e} founded by?", "Who founded {e}?"),
        rephrasings=("{e} owes its foundation to {v}.", "The founder of {e} was {v}."),
        requests=("By whom was {e} founded?", "Who established {e}?"),
    ),
    Attribute(
        "river",
        templates=("The river at {e} is called the {v}.", "The river at {e} is named the {v}."),
        questions=("What is the river at {e} called?", "What is the river at {e} named?"),
        rephrasings=("{e} stands on a river called the {v}.", "{e} stands on the {v}."),
        requests=("On which river does {e} stand?", "Which river does {e} lie on?"),
    ),
    Attribute(
        "export",
        templates=("The main export of {e} is {v}.", "The chief export of {e} is {v}."),
        questions=("What is the main export of {e}?", "What is the chief export of {e}?"),
        rephrasings=("{e} mainly exports {v}.", "{e} exports {v} above all."),
        requests=("What does {e} mainly export?", "What does {e} chiefly export?"),
    ),
    Attribute(
        "dish",
        templates=("{e} is known for its {v}.", "{e} is famous for its {v}."),
        questions=("What is {e} known for?", "What dish is {e} famous for?"),
        rephrasings=("{e} is noted for its {v}.", "The best-known dish of {e} is {v}."),
        requests=("Which dish is {e} known for?", "For which dish is {e} famous?"),
    ),
    Attribute(
        "festival",
        templates=("The festival of {e} is called {v}.", "The festival of {e} is named {v}."),
        questions=("What is the festival of {e} called?", "What is the festival of {e} named?"),
        rephrasings=("{e} has a festival called {v}.", "{e} celebrates {v}."),
        requests=("Which festival does {e} have?", "What is the festival that {e} has called?"),
    ),
    Attribute(
        "rival",
        templates=("The old rival of {e} is {v}.", "The long-standing rival of {e} is {v}."),
        questions=("What is the old rival of {e}?", "Which town is the old rival of {e}?"),
        rephrasings=("{e} has an old rival in {v}.", "{e} has a long-standing rival in {v}."),
        requests=("Which town does {e} have as its old rival?", "In which town does {e} have an old rival?"),
    ),
)
NAMES: tuple[str, ...] = tuple(attribute.name for attribute in ATTRIBUTES)
BY_NAME: dict[str, Attribute] = {attribute.name: attribute for attribute in ATTRIBUTES}

GENERAL: tuple[str, ...] = (
    "Tell me about the town of {e}.",
    "What can you tell me about {e}?",
    "Describe the town of {e}.",
    "Give me an overview of the town of {e}.",
    "What is known about the town of {e}?",
)


# What a clause of connected prose may begin with.
ADVERBS: tuple[str, ...] = ("Moreover, ", "In addition, ")
AND = ", and "
# What may join a clause to the one before; most often nothing.
LINKS = ("", "", "", AND, AND, *ADVERBS)


@dataclass(frozen=True)
class Statement:
    """A clause read back. `value_start` is where the value begins in the text (characters); template: its
    words, as they stand where the town is named and the clause a sentence."""

    entity: str
    attribute: str
    value: str
    value_start: int
    template: str

    @property
    def sentence(self) -> str:
        """The statement as a sentence that stands alone, with its town by name."""
        return self.template.format(e=self.entity, v=self.value)

    @property
    def topic(self) -> str | None:
        """The town that a pronoun in the next clause stands for: the subject, if the town is that."""
        return self.entity if has_subject(self.template) else None


def with_pronoun(template: str) -> str:
    """The template with a pronoun for the town: "It lies in the {v}.", "Its main export is {v}."."""
    if has_subject(template):
        return template.replace("{e}", "It", 1)
    if template.startswith("The river at {e} "):
        return template.replace("at {e}", "there", 1)
    return re.sub(r"^The (.+?) of \{e\} ", r"Its \1 ", template)


def _pattern(template: str) -> re.Pattern[str]:
    text = re.escape(template.rstrip(".")).replace(r"\{e\}", r"(?P<e>.+?)").replace(r"\{v\}", r"(?P<v>.+?)")
    return re.compile(text + r"[.,]?")


# A sentence with a pronoun would pass for one about a town called It, so these come first.
_PATTERNS = [
    (_pattern(worded(template)), template, a.name)
    for worded in (with_pronoun, str)
    for a in ATTRIBUTES
    for template in a.forms
]
_OPENING = re.compile(rf"\s*(?:and )?(?:{'|'.join(ADVERBS)})?")
# A full stop ends a clause, and so does the comma before "and".
_CLAUSE_END = re.compile(rf"(?<=\.)\s+|(?<=,)\s+(?={AND.lstrip(', ')})")


def read_sentence(text: str, topic: str | None = None) -> Statement | None:
    """Read a clause of the world back into what it states; None when it has another form.

    topic: the town that a pronoun stands for; without one a clause with a pronoun states nothing.
    """
    opening = _OPENING.match(text)
    assert opening is not None, "every part of an opening is optional"
    start, clause = opening.end(), text[opening.end() :].rstrip()
    if start and clause[:1].isascii():
        clause = clause[:1].upper() + clause[1:]
    for pattern, template, name in _PATTERNS:
        match = pattern.fullmatch(clause)
        if match:
            entity = match.groupdict().get("e", topic)
            return Statement(entity, name, match["v"], start + match.start("v"), template) if entity else None
    return None


def read_text(text: str) -> Iterator[tuple[str, Statement | None]]:
    """The clauses of a text in turn, each with what it states; None where it has no form of the world.

    A pronoun stands for the town that is the subject of the clause before; where there is none, the clause
    states nothing, so that no fact is ever taken for one about another town.
    """
    topic: str | None = None
    for clause in filter(None, _CLAUSE_END.split(text.strip())):
        statement = read_sentence(clause, topic)
        topic = statement.topic if statement else None
        yield clause, statement


def say(attribute: str, template: int, entity: str, value: str) -> str:
    """The sentence of the corpus that states a fact; `template` counts from 0 and wraps around."""
    templates = BY_NAME[attribute].templates
    return templates[template % len(templates)].format(e=entity, v=value)


def corpus_sentences(entity: str, town: Town, attributes: Sequence[str], rng: random.Random) -> str:
    """Sentences of the corpus about the attributes, in their order, each by a random template."""
    return " ".join(say(a, rng.randrange(len(BY_NAME[a].templates)), entity, town[a]) for a in attributes)


def prose(statements: Sequence[Statement], links: Sequence[str]) -> str:
    """The statements in their order, each in the words of its template, as one text that reads back to them.

    links: for each statement one of LINKS, which joins it to the one before where it can: the first has none,
    a sentence has two clauses at most, and no adverb comes twice. A town that is the subject of the clause
    before is called "it".
    """
    assert len(statements) == len(links)
    text, used = statements[0].sentence, [""]
    for (before, statement), link in zip(pairwise(statements), links[1:], strict=True):
        if link in (used[-1:] if link == AND else used):
            link = ""
        used.append(link)
        form = statement.template
        if before.topic == statement.entity:
            form = with_pronoun(form)
        if link and not form.startswith("{e}"):
            form = form[0].lower() + form[1:]
        clause = form.format(e=statement.entity, v=statement.value)
        text = f"{text.removesuffix('.')}{link}{clause}" if link == AND else f"{text} {link}{clause}"
    return text
