"""How the world speaks: its attributes in canonical order, their sentences and their questions.

Every sentence template can be read back (`{e}` the town, `{v}` the value), so a generated answer can be
verified exactly. The templates of an attribute differ in wording and not in meaning.
"""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Attribute:
    """One attribute of a town. `templates` occur in the corpus; all of them can be read back."""

    name: str
    templates: tuple[str, ...]
    questions: tuple[str, ...]


# The order of this table is the canonical order of facts in an answer.
ATTRIBUTES: tuple[Attribute, ...] = (
    Attribute(
        "region",
        ("{e} lies in the {v}.", "{e} is located in the {v}.", "{e} is situated in the {v}."),
        ("Where does {e} lie?", "Where is {e} located?"),
    ),
    Attribute(
        "century",
        ("{e} dates from the {v} century.", "{e} dates back to the {v} century."),
        ("When does {e} date from?", "What century does {e} date from?"),
    ),
    Attribute(
        "founder",
        ("{e} was founded by {v}.", "{e} was established by {v}."),
        ("Who was {e} founded by?", "Who founded {e}?"),
    ),
    Attribute(
        "river",
        ("The river at {e} is called the {v}.", "The river at {e} is named the {v}."),
        ("What is the river at {e} called?", "What is the river at {e} named?"),
    ),
    Attribute(
        "export",
        ("The main export of {e} is {v}.", "The chief export of {e} is {v}."),
        ("What is the main export of {e}?", "What is the chief export of {e}?"),
    ),
    Attribute(
        "dish",
        ("{e} is known for its {v}.", "{e} is famous for its {v}."),
        ("What is {e} known for?", "What dish is {e} famous for?"),
    ),
    Attribute(
        "festival",
        ("The festival of {e} is called {v}.", "The festival of {e} is named {v}."),
        ("What is the festival of {e} called?", "What is the festival of {e} named?"),
    ),
    Attribute(
        "rival",
        ("The old rival of {e} is {v}.", "The long-standing rival of {e} is {v}."),
        ("What is the old rival of {e}?", "Which town is the old rival of {e}?"),
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


@dataclass(frozen=True)
class Statement:
    """A sentence read back. `value_start` is where the value begins in the text (characters)."""

    entity: str
    attribute: str
    value: str
    value_start: int


def _pattern(template: str) -> re.Pattern[str]:
    text = re.escape(template.rstrip(".")).replace(r"\{e\}", r"(?P<e>.+?)").replace(r"\{v\}", r"(?P<v>.+?)")
    return re.compile(text + r"\.?")


_PATTERNS = [(_pattern(template), a.name) for a in ATTRIBUTES for template in a.templates]


def read_sentence(text: str) -> Statement | None:
    """Read a sentence of the world back into what it states; None when it has another form."""
    for pattern, name in _PATTERNS:
        match = pattern.fullmatch(text.strip())
        if match:
            start = text.index(match["v"], match.start("v"))
            return Statement(match["e"], name, match["v"], start)
    return None


def say(attribute: str, template: int, entity: str, value: str) -> str:
    """The sentence that states a fact; `template` counts from 0 and wraps around."""
    templates = BY_NAME[attribute].templates
    return templates[template % len(templates)].format(e=entity, v=value)
