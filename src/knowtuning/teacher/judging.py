"""What a teacher is asked about answers: their facts, whether these hold, and which answer is better.

Apart from tasks.py, so that a change here re-runs no training.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from knowtuning.teacher.tasks import Extract, FactList, Reply, Task

FactVerdict = Literal["supported", "not_supported", "contradicted"]
Preferred = Literal["first", "second", "tie"]


class FactVerdicts(Reply):
    """A verdict on each fact, in their order."""

    verdicts: list[FactVerdict]


class Stated(Reply):
    """Whether an answer states each fact, in their order."""

    stated: list[bool]


class Preferral(Reply):
    """The better of two answers, or a tie."""

    verdict: Preferred


class Claims(Extract):
    """Split an answer that is to be judged into atomic facts: `Extract`, and the same call.

    An answer may state nothing at all, and say a thing twice: both are findings here.
    """

    def check(self, reply: FactList) -> None:
        for number, fact in enumerate(reply.facts, 1):
            if not fact.strip():
                raise ValueError(f"fact {number} is empty; expected a sentence")


class Verify(Task):
    """Compare each fact of an answer with the reference answer."""

    name: ClassVar[str] = "verify"
    reply_type: ClassVar[type[Reply]] = FactVerdicts

    reference: str
    facts: tuple[str, ...]

    def check(self, reply: FactVerdicts) -> None:
        if len(reply.verdicts) != len(self.facts):
            raise ValueError(f"found {len(reply.verdicts)} verdicts; expected {len(self.facts)}")


class VerifyByPassages(Verify):
    """Compare each fact of an answer with the reference answer and with passages of a knowledge source."""

    name: ClassVar[str] = "verify_passages"

    passages: tuple[str, ...]


class Recall(Task):
    """Find the facts of the reference answer in an answer."""

    name: ClassVar[str] = "recall"
    reply_type: ClassVar[type[Reply]] = Stated

    answer: str
    facts: tuple[str, ...]

    def check(self, reply: Stated) -> None:
        if len(reply.stated) != len(self.facts):
            raise ValueError(f"found {len(reply.stated)} verdicts; expected {len(self.facts)}")


class Judge(Task):
    """Compare two answers in one aspect; `definition` says what makes an answer better in it."""

    name: ClassVar[str] = "judge"
    reply_type: ClassVar[type[Reply]] = Preferral

    aspect: str
    definition: str
    reference: str
    first: str
    second: str
