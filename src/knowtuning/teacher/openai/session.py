"""One run of the teacher: reads tasks ahead, answers them side by side, gives outcomes in order.

Memory holds the look-ahead and no more. When the run must stop, calls in flight end and are kept.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from knowtuning.teacher.openai.errors import TeacherError
from knowtuning.teacher.openai.journal import Journal
from knowtuning.teacher.openai.limits import Limits
from knowtuning.teacher.openai.online import Call, Online
from knowtuning.teacher.openai.store import LEASE, Response
from knowtuning.teacher.openai.usage import Usage
from knowtuning.teacher.tasks import Failure, Outcome, Task

_CHUNK = 500


@dataclass(slots=True)
class _Slot:
    """A task in the order of the input, and its outcome or the coroutine that works on it."""

    call: Call
    outcome: Outcome | None = None
    work: asyncio.Task[Outcome] | None = field(default=None)


class Session:
    """A run over a stream of calls. Each method runs in the same event loop."""

    def __init__(
        self, calls: Iterator[Call], online: Online, journal: Journal, limits: Limits, usage: Usage
    ) -> None:
        self._calls = calls
        self._online = online
        self._journal = journal
        self._window = max(limits.lookahead, 2 * limits.concurrency)
        self._chunk = min(_CHUNK, self._window)
        self._usage = usage
        self._slots: deque[_Slot] = deque()
        self._working: dict[str, asyncio.Task[Outcome]] = {}
        self._broken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._ended = False
        self._heartbeat = asyncio.create_task(self._renew())

    async def next_batch(self) -> list[tuple[Task, Outcome]]:
        """The next outcomes in order, at least one; an empty list at the end.

        Raises TeacherError when the run cannot go on, after the calls in flight have ended.
        """
        while not (self._ended or self._broken.done()) and len(self._slots) <= self._window - self._chunk:
            await self._read_ahead()
        if not self._slots and not self._broken.done():
            return []
        head = self._slots[0].work if self._slots else None
        if head is not None:
            either: set[asyncio.Future[Any]] = {head, self._broken}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if self._broken.done():
            await self._drain()
            await self._broken
        return await self._take_ready()

    async def close(self) -> None:
        """End the run at once, wherever it is; what is on disk stays."""
        self._online.stop()
        works = [self._heartbeat, *(slot.work for slot in self._slots if slot.work is not None)]
        for work in works:
            work.cancel()
        await asyncio.gather(*works, return_exceptions=True)
        if self._broken.done():
            self._broken.exception()
        else:
            self._broken.cancel()

    async def _take_ready(self) -> list[tuple[Task, Outcome]]:
        ready: list[tuple[Task, Outcome]] = []
        used: list[str] = []
        while self._slots and (self._slots[0].work is None or self._slots[0].work.done()):
            slot = self._slots.popleft()
            outcome = slot.outcome if slot.work is None else slot.work.result()
            assert outcome is not None
            ready.append((slot.call.task, outcome))
            used.append(slot.call.key)
        await self._journal.do(lambda store: store.use(used))
        return ready

    async def _read_ahead(self) -> None:
        calls = list(itertools.islice(self._calls, self._chunk))
        self._ended = len(calls) < self._chunk
        if not calls:
            return
        found = await self._journal.do(lambda store: store.find([call.key for call in calls]))
        try:
            for call in calls:
                self._slots.append(self._recall(call, found.get(call.key)) or self._start(call))
        except TeacherError as error:
            self._break(error)

    def _recall(self, call: Call, response: Response | None) -> _Slot | None:
        # None also where checks have become stricter: Online looks again and asks anew.
        outcome = None if response is None else self._online.recall(call, response)
        return None if outcome is None else _Slot(call, outcome)

    def _start(self, call: Call) -> _Slot:
        twin = self._working.get(call.key)
        work = asyncio.create_task(self._work(call) if twin is None else self._share(call, twin))
        if twin is None:
            self._working[call.key] = work
            work.add_done_callback(lambda _: self._working.pop(call.key, None))
        work.add_done_callback(self._notice)
        return _Slot(call, work=work)

    async def _work(self, call: Call) -> Outcome:
        return await self._online.answer(call)

    async def _share(self, call: Call, twin: asyncio.Task[Outcome]) -> Outcome:
        """The same call as one that is being made, for another row: its outcome serves both."""
        outcome = await asyncio.shield(twin)
        if isinstance(outcome, Failure):
            self._usage.failed += 1
        else:
            self._usage.cached += 1
        return outcome

    def _notice(self, work: asyncio.Task[Outcome]) -> None:
        if work.cancelled() or self._broken.done():
            return
        error = work.exception()
        if error is not None:
            self._break(error)

    def _break(self, error: BaseException) -> None:
        self._online.stop()
        self._broken.set_exception(error)

    async def _drain(self) -> None:
        """Let calls in flight end, so that what is being paid for is kept."""
        self._online.stop()
        works = list(self._working.values())
        for work in works:
            if not self._online.is_in_flight(work):
                work.cancel()
        await asyncio.gather(*works, return_exceptions=True)

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(LEASE / 4)
            await self._journal.do(lambda store: store.renew())
