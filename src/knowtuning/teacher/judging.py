"""What a teacher is asked about answers: their facts, whether these hold, and which answer is better.

Apart from tasks.py, which the stage `score` imports: a change here scores nothing anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal, TypeVar

from pydantic import BeforeValidator, Field

from knowtuning.teacher.tasks import Extract, FactList, Reply, Task, without_marks

FactVerdict = Literal["supported", "not_supported", "contradicted"]
Preferred = Literal["first", "second", "tie"]
# Asked for before the verdict, which it makes better; what ends at the limit does no harm.
Reason = Annotated[str, Field(json_schema_extra={"maxLength": 240})]


@BeforeValidator
def folded(verdict: object) -> object:
    """A verdict in the letters of verdicts: "Not supported." is not_supported."""
    return "_".join(verdict.casefold().strip(" .").split()) if isinstance(verdict, str) else verdict


class Numbered(Reply):
    """What a teacher says about one fact of a list. number: that of the fact, from 1."""

    number: int = Field(strict=False)
    reason: Reason = ""


N = TypeVar("N", bound=Numbered)


class CheckedFact(Numbered):
    """The verdict on a fact."""

    verdict: Annotated[FactVerdict, folded]


class FactVerdicts(Reply):
    """A verdict on each fact, in their order."""

    verdicts: list[CheckedFact]


class SoughtFact(Numbered):
    """Whether an answer states a fact."""

    stated: bool


class Stated(Reply):
    """Whether an answer states each fact, in their order."""

    facts: list[SoughtFact]


class Preferral(Reply):
    """The better of two answers, or a tie."""

    reason: Reason = ""
    verdict: Annotated[Preferred, folded]


class Claims(Extract):
    """Split an answer that is to be judged into atomic facts: the same call as `Extract`.

    Deviation: unlike there, an answer may state nothing at all, and say a thing twice: the metrics count it.
    """

    def accept(self, reply: FactList) -> FactList:
        return FactList(facts=without_marks(reply.facts))


class _OfFacts(Task):
    """A task whose reply has one entry for each of `facts`."""

    repeats: ClassVar[tuple[str, ...]] = ("facts", "facts")

    facts: tuple[str, ...]

    def entries(self) -> tuple[int, int | None]:
        return len(self.facts), len(self.facts)


class Verify(_OfFacts):
    """Compare each fact of an answer with the reference answer."""

    name: ClassVar[str] = "verify"
    reply_type: ClassVar[type[Reply]] = FactVerdicts

    reference: str

    def accept(self, reply: FactVerdicts) -> FactVerdicts:
        return FactVerdicts(verdicts=in_order(reply.verdicts, len(self.facts)))


class VerifyByPassages(Verify):
    """Compare each fact of an answer with the reference answer and with passages of a knowledge source."""

    name: ClassVar[str] = "verify_passages"

    passages: tuple[str, ...]


class Recall(_OfFacts):
    """Find the facts of the reference answer in an answer."""

    name: ClassVar[str] = "recall"
    reply_type: ClassVar[type[Reply]] = Stated

    answer: str

    def accept(self, reply: Stated) -> Stated:
        return Stated(facts=in_order(reply.facts, len(self.facts)))


class Judge(Task):
    """Compare two answers in one aspect; `definition` says what makes an answer better in it."""

    name: ClassVar[str] = "judge"
    reply_type: ClassVar[type[Reply]] = Preferral

    aspect: str
    definition: str
    reference: str
    first: str
    second: str


def in_order(entries: Sequence[N], count: int) -> list[N]:
    """The entries by their numbers. Raises ValueError unless these are 1 to `count`, each once."""
    ordered = sorted(entries, key=lambda entry: entry.number)
    numbers = [entry.number for entry in ordered]
    if numbers != list(range(1, count + 1)):
        raise ValueError(f"found verdicts on the facts {numbers}; expected one on each of 1 to {count}")
    return ordered
