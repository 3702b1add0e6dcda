"""What a teacher is asked, what it replies, and what makes a reply acceptable.

A task is one class: a frozen record of the input, with the model of a well-formed reply (`reply_type`), the
number of entries of its list, the fields whose text a reply says again, and the check of its meaning
(`accept`). With prompts/<name>.txt beside it every LLM can be asked it; teachers that work by rules have an
entry for each task that they know. Every teacher runs the check, so a stage never sees a reply that fails it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic_core import PydanticCustomError

from knowtuning.core.numbers import entailed
from knowtuning.core.storage import atomic_write
from knowtuning.core.text import content_words, normal_form, share_of, words

# Share of the content words of a text below which another is no rephrasing of it, but a refusal or a remark:
# of the world's facts in other templates the least has half (docs/data-quality.md).
_MIN_SAID = 0.2


def _not_blank(text: str) -> str:
    if not text.strip():
        raise PydanticCustomError("blank", "Input should not be blank")
    return text


Filled = Annotated[str, AfterValidator(_not_blank), Field(json_schema_extra={"minLength": 1})]


class Reply(BaseModel):
    """Base of all replies: strictly typed. Further keys, which models like to add, are left unread."""

    model_config = ConfigDict(frozen=True, strict=True)


class FactList(Reply):
    """Atomic facts, in the order of the text they come from."""

    facts: list[Filled]


class QuestionAnswer(Reply):
    """A rewritten question with its answer."""

    question: Filled
    answer: Filled


class Text(Reply):
    """A rephrased text."""

    text: Filled


class Triple(Reply):
    """One statement as a graph holds it."""

    subject: Filled
    predicate: Filled
    object: Filled


class TripleList(Reply):
    """What facts state, in their order."""

    triples: list[Triple]


class FactQuestion(Reply):
    """A question that a fact answers. opening: the words that a short answer to it begins with."""

    question: Filled
    opening: str


class Task(BaseModel):
    """Base of all tasks. `id` is the id of the record.

    name: of the prompt file. repeats: the fields whose text a reply says again, which bounds its length.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    name: ClassVar[str]
    reply_type: ClassVar[type[Reply]]
    repeats: ClassVar[tuple[str, ...]] = ()

    id: str
    question: str

    def entries(self) -> tuple[int, int | None]:
        """The fewest and the most entries of the reply's list; None: no bound."""
        return 0, None

    def accept(self, reply: Any) -> Any:
        """The reply as it is used. Raises ValueError, naming what is wrong, when it is no answer to this."""
        return reply


class Extract(Task):
    """Split an answer into atomic facts: short sentences that each stand alone (paper, 3.2).

    One that comes again in the same words is left out.
    """

    name: ClassVar[str] = "extract"
    reply_type: ClassVar[type[Reply]] = FactList
    repeats: ClassVar[tuple[str, ...]] = ("answer",)

    answer: str

    def entries(self) -> tuple[int, int | None]:
        # No text states a fact with every four characters. Powers of two, for a server compiles each schema.
        most = 1 << max(3, (len(self.answer) // 4).bit_length())
        return 0, most if most <= 256 else None

    def accept(self, reply: FactList) -> FactList:
        facts = distinct(without_marks(reply.facts))
        if not facts:
            raise ValueError("found no fact; expected at least one")
        return FactList(facts=facts)


class RewriteQA(Task):
    """Rewrite question and answer around the difficult facts (paper, 3.2)."""

    name: ClassVar[str] = "rewrite"
    reply_type: ClassVar[type[Reply]] = QuestionAnswer
    repeats: ClassVar[tuple[str, ...]] = ("question", "facts")

    answer: str
    facts: tuple[str, ...]


class Revise(Task):
    """Revise facts into false ones, in the same order; one that cannot be revised stays (paper, 3.3).

    Deviation: the paper revises every fact. A person errs in some, and not every sentence can be made false
    without a negation that gives it away ("It is not true that …"), which is refused; a reply must change at
    least one.
    """

    name: ClassVar[str] = "revise"
    reply_type: ClassVar[type[Reply]] = FactList
    repeats: ClassVar[tuple[str, ...]] = ("facts",)

    facts: tuple[str, ...]

    def entries(self) -> tuple[int, int | None]:
        return len(self.facts), len(self.facts)

    def accept(self, reply: FactList) -> FactList:
        if len(reply.facts) != len(self.facts):
            raise ValueError(f"found {len(reply.facts)} revised facts; expected {len(self.facts)}")
        revised = without_marks(reply.facts)
        pairs = list(zip(self.facts, revised, strict=True))
        for number, (fact, false) in enumerate(pairs, 1):
            if words(fact) != words(false) and normal_form(false) in map(normal_form, self.facts):
                raise ValueError(
                    f"revised fact {number} of {self.id} is another of its facts: {false!r}; expected a "
                    f"false version of {fact!r}, or the original as it stands"
                )
            if words(fact) != words(false) and entailed(fact, false):
                raise ValueError(
                    f"revised fact {number} of {self.id} is no revision: {false!r} follows from "
                    f"{fact!r}; expected a false fact, or the original as it stands"
                )
            if is_negation(fact, false):
                raise ValueError(
                    f"revised fact {number} of {self.id} negates its original: {false!r}; expected another "
                    "name, number, property or relation, or the original as it stands"
                )
        if pairs and all(entailed(fact, false) for fact, false in pairs):
            raise ValueError("every revised fact equals its original; expected at least one false fact")
        return FactList(facts=revised)


class Rephrase(Task):
    """Rephrase a text without adding, dropping, changing or reordering a fact (paper, 3.3)."""

    name: ClassVar[str] = "rephrase"
    reply_type: ClassVar[type[Reply]] = Text
    repeats: ClassVar[tuple[str, ...]] = ("text",)

    text: str

    def accept(self, reply: Text) -> Text:
        known = content_words(self.text)
        share = share_of(known, words(reply.text))
        if len(known) > 4 and share < _MIN_SAID:
            raise ValueError(
                f"found {share:.0%} of the content words of the text; expected all that it says, reworded"
            )
        return reply


class Triples(Task):
    """Write facts as triples of subject, predicate and object, at least one in all."""

    name: ClassVar[str] = "triples"
    reply_type: ClassVar[type[Reply]] = TripleList
    repeats: ClassVar[tuple[str, ...]] = ("facts",)

    facts: tuple[str, ...]

    def entries(self) -> tuple[int, int | None]:
        return 1, None

    def accept(self, reply: TripleList) -> TripleList:
        if not reply.triples:
            raise ValueError("found no triple; expected at least one")
        return reply


class Tell(Task):
    """Write triples as connected prose that states each of them in their order, and nothing else."""

    name: ClassVar[str] = "tell"
    reply_type: ClassVar[type[Reply]] = Text
    repeats: ClassVar[tuple[str, ...]] = ("triples",)

    triples: tuple[Triple, ...]


class AskFact(Task):
    """Turn a fact into a question that asks for it without giving it away (FactTune-MC).

    question: the one whose answer states the fact. Equal questions should come in equal words, since answers
    are compared a question.
    """

    name: ClassVar[str] = "ask"
    reply_type: ClassVar[type[Reply]] = FactQuestion
    repeats: ClassVar[tuple[str, ...]] = ("fact",)

    fact: str

    def accept(self, reply: FactQuestion) -> FactQuestion:
        if normal_form(self.fact) == normal_form(reply.opening):
            raise ValueError("the opening is the whole fact; expected its words before what is asked for")
        return reply


class Failure(BaseModel):
    """A task that got no acceptable reply. `raw` is the last thing the teacher said.

    expected: the teacher says itself that the task is beyond it. Such a row is left out with its reason and
    does not count against max_rejected.
    """

    model_config = ConfigDict(frozen=True)

    reason: str
    raw: Any = None
    expected: bool = False


Outcome = Reply | Failure


# For each fact the index of the one before it that it leans on; None where it stands alone.
Dependence = Callable[[Sequence[str]], Sequence[int | None]]
# Pairs of facts of which the first must stand before the second, one for each sign of it; None where their
# language is not read.
Links = Callable[[Sequence[str]], Sequence[tuple[int, int]] | None]


def independent(facts: Sequence[str]) -> Sequence[int | None]:
    """Every fact stands alone."""
    return [None] * len(facts)


class Teacher:
    """Whatever answers tasks. This one answers none, and is not paid: no usage, and no replies to keep."""

    has_bar = False  # whether it shows its own progress

    def run(self, tasks: Iterable[Task]) -> Iterator[tuple[Task, Outcome]]:
        """Yield each task with its outcome, in the order of `tasks`, reading them as a stream."""
        raise NotImplementedError

    def usage(self) -> dict[str, Any]:
        """What its replies took, for a metrics file; empty where nobody is paid."""
        return {}

    def load_replies(self, out: Path) -> None:
        """Take the replies that DVC keeps of the output `out`."""

    def save_replies(self, out: Path) -> None:
        """Write the replies it used to `out`, so that they travel with the stage."""
        with atomic_write(out):
            pass


def checked(task: Task, answer: Callable[[], Reply], *, expected: bool = False) -> Outcome:
    """The reply of `answer`, checked by its task, or the failure of its ValueError; expected: see Failure."""
    reply: Reply | None = None
    try:
        reply = answer()
        accepted: Reply = task.accept(reply)
    except ValueError as error:
        raw = None if reply is None else reply.model_dump()
        return Failure(reason=str(error), raw=raw, expected=expected)
    return accepted


def distinct(facts: Iterable[str]) -> list[str]:
    """The facts, in their order, without those that an earlier one says in the same words."""
    first: dict[str, str] = {}
    for fact in facts:
        first.setdefault(normal_form(fact), fact)
    return list(first.values())


def without_marks(facts: Sequence[str]) -> list[str]:
    """Facts without "1. ", "2) ", "Fact 3: " … or the bullets in front of them, where each has its own."""
    bullet = r"[-*•](?=\s+\D)" if len(facts) > 1 else "(?!)"
    marks = (rf"(?:{bullet}|\({n}\)|(?:fact )?{n}[.):])\s+" for n in range(1, len(facts) + 1))
    rests = [re.sub(rf"\A{mark}", "", fact, flags=re.I) for mark, fact in zip(marks, facts, strict=True)]
    return rests if all(rest != fact for rest, fact in zip(rests, facts, strict=True)) else list(facts)


# That a text is false, and that it stands in place of another.
_DENIAL = re.compile(
    r"\b(?:not|never)(?: \w+)? (?:true|correct|right|accurate|the case|a fact) that\b"
    r"|\b(?:untrue|false|incorrect|inaccurate|wrong|a myth|a lie)(?: to \w+)? that\b|^(?:not so|false|wrong):"
    r"|^(?:contrary to|revised:)|\((?:false|incorrect|untrue|revised|originally|actually|not \w+)\b[^)]*\)"
)
_NEGATIONS = ("not", "never", "no", "hardly", "barely")
_CONTRACTED = {"can't": "can not", "cannot": "can not", "won't": "will not", "has": "have"}


def is_negation(fact: str, revised: str) -> bool:
    """Whether a revised fact is its original with a "not", or in a frame such as "It is not true that".

    A model that learns to prefer the original learns to avoid the negation, and nothing about the subject.
    For English; of other languages nothing is noticed.
    """
    if _DENIAL.search(revised.casefold()) and not _DENIAL.search(fact.casefold()):
        return True
    (before, kept), (after, left) = _without_negation(fact), _without_negation(revised)
    return after > before and left == kept


def _without_negation(text: str) -> tuple[int, list[str]]:
    """The number of negations in a text, and its other words without the s of "does" and "lies"."""
    split = " ".join(_CONTRACTED.get(word, word).replace("n't", " not") for word in words(text)).split()
    others = [word for word in split if word not in _NEGATIONS]
    return len(split) - len(others), [w.rstrip("s") for w in others if w not in ("do", "does", "did")]
