"""What a teacher is asked, what it replies, and what makes a reply acceptable.

A task is a frozen record of the input; `task.reply_type` is the model of a well-formed reply and
`task.check(reply)` raises ValueError when a well-formed reply breaks the meaning of the task. Every
backend runs both, so a stage never sees a reply that fails them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol

from pydantic import BaseModel, ConfigDict

from knowtuning.core.numbers import entailed
from knowtuning.core.storage import atomic_write
from knowtuning.core.text import normal_form, words


class Reply(BaseModel):
    """Base of all replies: strictly typed, no unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class FactList(Reply):
    """Atomic facts, in the order of the text they come from."""

    facts: list[str]


class QuestionAnswer(Reply):
    """A rewritten question with its answer."""

    question: str
    answer: str


class Text(Reply):
    """A rephrased text."""

    text: str


class Triple(Reply):
    """One statement as a graph holds it."""

    subject: str
    predicate: str
    object: str


class TripleList(Reply):
    """What facts state, in their order."""

    triples: list[Triple]


class Task(BaseModel):
    """Base of all tasks. `id` is the id of the record, `name` that of the prompt file."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    name: ClassVar[str]
    reply_type: ClassVar[type[Reply]]

    id: str
    question: str

    def check(self, reply: Any) -> None:
        """Raise ValueError, naming what is wrong, when `reply` is not an answer to this task."""


class Extract(Task):
    """Split an answer into atomic facts: short sentences that each stand alone (paper, 3.2)."""

    name: ClassVar[str] = "extract"
    reply_type: ClassVar[type[Reply]] = FactList

    answer: str

    def check(self, reply: FactList) -> None:
        if not reply.facts:
            raise ValueError("found no fact; expected at least one")
        check_distinct(reply.facts)


class RewriteQA(Task):
    """Rewrite question and answer around the difficult facts (paper, 3.2)."""

    name: ClassVar[str] = "rewrite"
    reply_type: ClassVar[type[Reply]] = QuestionAnswer

    answer: str
    facts: tuple[str, ...]

    def check(self, reply: QuestionAnswer) -> None:
        if not reply.question.strip() or not reply.answer.strip():
            raise ValueError("found an empty question or answer; expected text in both")


class Revise(Task):
    """Revise facts into false ones, in the same order; one that cannot be revised stays (paper, 3.3).

    Deviation: the paper revises every fact. A person errs in some, and not every sentence can be made false
    without a frame that gives it away ("It is not true that …"); a reply must change at least one.
    """

    name: ClassVar[str] = "revise"
    reply_type: ClassVar[type[Reply]] = FactList

    facts: tuple[str, ...]

    def check(self, reply: FactList) -> None:
        if len(reply.facts) != len(self.facts):
            raise ValueError(f"found {len(reply.facts)} revised facts; expected {len(self.facts)}")
        for number, revised in enumerate(reply.facts, 1):
            if not revised.strip():
                raise ValueError(f"revised fact {number} is empty; expected a sentence")
        pairs = list(zip(self.facts, reply.facts, strict=True))
        for number, (fact, revised) in enumerate(pairs, 1):
            if words(fact) != words(revised) and entailed(fact, revised):
                raise ValueError(
                    f"revised fact {number} of {self.id} is no revision: {revised!r} follows from "
                    f"{fact!r}; expected a false fact, or the original as it stands"
                )
        if pairs and all(entailed(fact, revised) for fact, revised in pairs):
            raise ValueError("every revised fact equals its original; expected at least one false fact")


class Rephrase(Task):
    """Rephrase a text without adding, dropping, changing or reordering a fact (paper, 3.3)."""

    name: ClassVar[str] = "rephrase"
    reply_type: ClassVar[type[Reply]] = Text

    text: str

    def check(self, reply: Text) -> None:
        if not reply.text.strip():
            raise ValueError("found an empty text; expected the rephrased text")


class Triples(Task):
    """Write facts as triples of subject, predicate and object, at least one in all."""

    name: ClassVar[str] = "triples"
    reply_type: ClassVar[type[Reply]] = TripleList

    facts: tuple[str, ...]

    def check(self, reply: TripleList) -> None:
        if not reply.triples:
            raise ValueError("found no triple; expected at least one")
        for number, found in enumerate(reply.triples, 1):
            for part, text in found:
                if not text.strip():
                    raise ValueError(f"the {part} of triple {number} is empty; expected a name")


class Tell(Task):
    """Write triples as connected prose that states each of them in their order, and nothing else."""

    name: ClassVar[str] = "tell"
    reply_type: ClassVar[type[Reply]] = Text

    triples: tuple[Triple, ...]

    def check(self, reply: Text) -> None:
        if not reply.text.strip():
            raise ValueError("found an empty text; expected the triples in prose")


class FactQuestion(Reply):
    """A question that a fact answers. opening: the words that a short answer to it begins with."""

    question: str
    opening: str


class AskFact(Task):
    """Turn a fact into a question that asks for it without giving it away (FactTune-MC).

    question: the one whose answer states the fact. Equal questions should come in equal words, since answers
    are compared a question.
    """

    name: ClassVar[str] = "ask"
    reply_type: ClassVar[type[Reply]] = FactQuestion

    fact: str

    def check(self, reply: FactQuestion) -> None:
        if not reply.question.strip():
            raise ValueError("found an empty question; expected one that the fact answers")
        if normal_form(self.fact) == normal_form(reply.opening):
            raise ValueError("the opening is the whole fact; expected its words before what is asked for")


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


def independent(facts: Sequence[str]) -> Sequence[int | None]:
    """Every fact stands alone."""
    return [None] * len(facts)


class Teacher(Protocol):
    """Anything that answers tasks, whether or not its replies are paid for."""

    @property
    def has_bar(self) -> bool:
        """Whether it shows its own progress."""
        ...

    def run(self, tasks: Iterable[Task]) -> Iterator[tuple[Task, Outcome]]:
        """Yield each task with its outcome, in the order of `tasks`, reading them as a stream."""
        ...

    def usage(self) -> dict[str, Any]:
        """What its replies took, for a metrics file; empty where nobody is paid."""
        ...

    def load_replies(self, out: Path, root: Path) -> int:
        """Take the replies that DVC keeps of the output `out`, relative to root; returns how many are new."""
        ...

    def save_replies(self, out: Path) -> int:
        """Write the replies it used to `out`, so that they travel with the stage; returns their number."""
        ...


class FreeTeacher:
    """What a teacher that nobody pays has in common with others: no usage, and no replies to keep."""

    has_bar = False

    def usage(self) -> dict[str, Any]:
        return {}

    def load_replies(self, out: Path, root: Path) -> int:
        return 0

    def save_replies(self, out: Path) -> int:
        with atomic_write(out):
            return 0


def checked(task: Task, answer: Callable[[], Reply], *, expected: bool = False) -> Outcome:
    """The reply that `answer` gives, checked by its task, or the failure that its ValueError says.

    expected: see Failure.
    """
    reply: Reply | None = None
    try:
        reply = answer()
        task.check(reply)
    except ValueError as error:
        raw = None if reply is None else reply.model_dump()
        return Failure(reason=str(error), raw=raw, expected=expected)
    return reply


def check_distinct(facts: Iterable[str]) -> None:
    """Raise ValueError when a fact is empty or occurs twice."""
    seen: set[str] = set()
    for number, fact in enumerate(facts, 1):
        form = normal_form(fact)
        if not form:
            raise ValueError(f"fact {number} is empty; expected a sentence")
        if form in seen:
            raise ValueError(f"fact {number} occurs twice: {fact!r}; expected distinct facts")
        seen.add(form)
