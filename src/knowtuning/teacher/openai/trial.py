"""Whether a model can do a task at all: what it has cost since its last usable reply, and when to stop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from knowtuning.teacher.openai.errors import Fault, TeacherError
from knowtuning.teacher.tasks import Failure

CALLS = 40  # calls that may have been billed, without a usable reply among them
FIRST = 10  # rows that are asked at once until the first usable reply
_SHOWN = 160  # characters of an example reply


@dataclass
class Trial:
    """One kind of task at one model. Raises TeacherError where paying on would buy nothing.

    rows: rows without a usable reply, in a row, after which the run stops; for calls it is CALLS. Once a
    usable reply has come both allow for so many calls at once (`concurrency`), whose failures come in a bunch
    since they take twice the time. who: the model and its endpoint, for messages.
    """

    task: str
    who: str
    rows: int
    concurrency: int
    _proven: bool = False
    _failed: int = 0
    _wasted: int = 0
    _in_flight: int = 0
    _asked: int = 0
    _last: Failure | Fault | None = None
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    @asynccontextmanager
    async def row(self) -> AsyncIterator[None]:
        """Ask for a row. Until the first usable reply few are asked at once, and none that may be in vain."""
        while not self._proven and self._asked >= min(FIRST, self.rows - self._failed):
            self._changed.clear()
            await self._changed.wait()
        self._asked += 1
        try:
            yield
        finally:
            self._asked -= 1
            self._changed.set()

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Make a call: it counts as wasted until `worked`, unless its fault was not billed."""
        while not self._proven and self._wasted < CALLS <= self._wasted + self._in_flight:
            self._changed.clear()
            await self._changed.wait()
        if self._wasted >= (max(CALLS, 2 * self.concurrency) if self._proven else CALLS):
            raise self.hopeless(f"{self._wasted} calls in a row")
        self._in_flight += 1
        try:
            yield
            self._wasted += 1
        except Fault as fault:
            self._wasted += fault.billed
            self._last = self._last if isinstance(self._last, Failure) and not fault.billed else fault
            raise
        finally:
            self._in_flight -= 1
            self._changed.set()

    def worked(self) -> None:
        """A usable reply has come, now or in an earlier run."""
        self._proven, self._failed, self._wasted = True, 0, 0
        self._changed.set()

    def unusable(self, failure: Failure) -> None:
        """A reply cannot be used; the row may be asked for once more."""
        self._last = failure

    def failed(self, failure: Failure | Fault) -> None:
        """A row stays without a usable reply. Raises TeacherError when it is one too many in a row."""
        self._last = failure
        self._failed += 1
        if self._failed >= (max(self.rows, self.concurrency) if self._proven else self.rows):
            raise self.hopeless(f"{self._failed} rows in a row")

    def hopeless(self, what: str) -> TeacherError:
        """The error that ends the run; `what`: how many calls or rows failed."""
        last = self._last
        if isinstance(last, Failure):
            return TeacherError(
                f"{self.who} cannot do the task {self.task!r}: {what} without a usable reply; the last: "
                f"{last.reason}; the reply was {_shown(last.raw)}; take another model. These replies are "
                "kept and not bought again; KNOWTUNING_ASK_AGAIN=1 asks anew"
            )
        return TeacherError(
            f"{what} failed at {self.who}, the last one: {last}; what was paid is kept, run again when the "
            "endpoint answers"
        )


def _shown(raw: object) -> str:
    text = " ".join(str(raw or "").split())
    return repr(text if len(text) <= _SHOWN else text[:_SHOWN] + "…")
