"""The `openai` teacher: tasks in, outcomes out, in order, each call paid at most once."""

from __future__ import annotations

import asyncio
import itertools
import math
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from knowtuning.config.teacher import Endpoint
from knowtuning.teacher.openai.batch import Batches
from knowtuning.teacher.openai.calls import Call, Calls
from knowtuning.teacher.openai.client import OFFICIAL, Client, Dialect, Model, Run
from knowtuning.teacher.openai.limits import Estimate, Limits, Progress, TeacherError, Usage, price_of
from knowtuning.teacher.openai.prompts import Prompts
from knowtuning.teacher.openai.store import (
    Journal,
    Store,
    export_replies,
    import_replies,
    previous_output,
    request_key,
)
from knowtuning.teacher.openai.structured import reply_limit, task_schema
from knowtuning.teacher.tasks import Failure, Outcome, Task

STORE_NAME = "teacher.sqlite"
_CHUNK = 500


class OpenAITeacher:
    """Answers tasks through an OpenAI-compatible endpoint and a durable store of replies.

    cache: the folder of the store. api_key: may be None where no call has to be made, and for endpoints
    that need none. section: where params.yaml has `params`, key: the variable that holds the key, both for
    messages. headers: sent with every call, and as secret as the key. most_failed: rows that may stay
    without a usable reply before the run stops. `totals` counts over all runs of this teacher.
    """

    has_bar = True  # with calls, tokens and money

    def __init__(
        self,
        params: Endpoint,
        *,
        prompts: Path,
        cache: Path,
        api_key: str | None,
        limits: Limits,
        section: str = "teacher",
        key: str = "OPENAI_API_KEY",
        headers: Mapping[str, str] | None = None,
        most_failed: float = math.inf,
    ) -> None:
        self._params, self._api_key, self._headers = params, api_key, headers or {}
        self._most_failed = most_failed
        self._limits = limits if limits.mode == "online" else _for_batches(limits)
        self._prompts = Prompts(prompts)
        named = {"temperature": params.temperature, "top_p": params.top_p, "seed": params.seed}
        sampling = {name: value for name, value in named.items() if value is not None}
        # The address is always named, so that no variable of the package can redirect calls and their keys.
        endpoint = (params.base_url or OFFICIAL).rstrip("/")
        self._model = Model(endpoint, params.model, sampling, params.extra, section, key)
        official, batch = endpoint == OFFICIAL, limits.mode == "batch"
        self._price = price_of(params.model, limits.prices, official=official, batch=batch)
        if self._price is None and limits.budget < math.inf:
            raise ValueError(
                f"KNOWTUNING_BUDGET is set but no price is known for {self._model}; name it in a price table "
                "(KNOWTUNING_PRICES)"
            )
        self.totals = Usage(price=self._price)
        self._dialects: dict[str, tuple[Dialect, float]] = {}
        self._store = Store(cache / STORE_NAME)

    def run(self, tasks: Iterable[Task]) -> Iterator[tuple[Task, Outcome]]:
        """Yield each task with its outcome, in order, reading `tasks` as a stream.

        A sequence is looked through first, for an estimate. Calls go on while the caller asks for
        outcomes; close the generator to end them. Raises TeacherError when the run cannot go on, and behind a
        preview that leaves calls to pay.
        """
        if self._limits.preview is not None:
            tasks = list(tasks)
        estimate = self.estimate_of(tasks) if isinstance(tasks, Sequence) else None
        progress = Progress(
            self.totals, total=estimate.tasks if estimate else None, shown=self._limits.progress
        )
        try:
            if estimate is not None:
                progress.say(str(estimate))
            if estimate is not None and estimate.calls and self._limits.preview is not None:
                assert isinstance(tasks, Sequence)
                self._preview(tasks, self._limits.preview, progress)
            yield from self._outcomes(tasks, progress)
        finally:
            progress.close()

    def estimate_of(self, tasks: Iterable[Task]) -> Estimate:
        """What a run over `tasks` will take, without making a call."""
        count = prompt_bytes = reply_tokens = 0
        stream = (self._call(task) for task in tasks)
        new: set[str] = set()
        while chunk := list(itertools.islice(stream, _CHUNK)):
            responses = self._store.find([call.key for call in chunk])
            count += len(chunk)
            for call in chunk:
                response = responses.get(call.key)
                kept = response is not None and not (self._limits.ask_again and response.failure)
                if not kept and call.key not in new:
                    new.add(call.key)
                    prompt_bytes += sum(len(message["content"].encode("utf-8")) for message in call.messages)
                    reply_tokens += reply_limit(call.task, self._params.max_tokens)
        cached, max_tokens = count - len(new), self._params.max_tokens
        return Estimate(count, cached, len(new), prompt_bytes, reply_tokens, max_tokens, self._price)

    def usage(self) -> dict[str, Any]:
        """Totals of calls, tokens and money.

        `paid` is this run's part and `cached` what earlier runs paid for; `total` is both, and the same
        whether the stage was resumed or not.
        """
        return {"teacher": self.totals.metrics()}

    def load_replies(self, out: Path, root: Path) -> int:
        """Put the replies that DVC keeps of `out` into the store; returns how many were new."""
        lines = previous_output(root, out)
        return 0 if lines is None else import_replies(self._store, lines, out)

    def save_replies(self, out: Path) -> int:
        """Export the replies that this teacher's runs used; returns their number."""
        return export_replies(self._store, self._store.used(), out)

    def close(self) -> None:
        """Close the store."""
        self._store.close()

    def _preview(self, tasks: Sequence[Task], rows: int, progress: Progress) -> None:
        """Ask for the first rows and show them. Raises TeacherError."""
        for task, outcome in self._outcomes(tasks[:rows], progress):
            reply = (
                f"no reply: {outcome.reason}" if isinstance(outcome, Failure) else outcome.model_dump_json()
            )
            progress.say(
                f"--- {task.name} {task.id}\n{self._call(task).messages[-1]['content']}\n>>> {reply}"
            )
        raise TeacherError(
            f"preview: {min(rows, len(tasks))} of {len(tasks)} rows are done and kept; run again without "
            "KNOWTUNING_PREVIEW to go on"
        )

    def _outcomes(self, tasks: Iterable[Task], progress: Progress) -> Iterator[tuple[Task, Outcome]]:
        with asyncio.Runner() as runner:
            session = runner.run(self._open(tasks, progress))
            try:
                while batch := runner.run(session.next_batch()):
                    yield from batch
                    progress.advance(len(batch))
            finally:
                runner.run(session.close())

    async def _open(self, tasks: Iterable[Task], progress: Progress) -> Session:
        journal = Journal(self._store)
        run = Run(
            self._model,
            self._limits,
            self.totals,
            journal,
            progress.say,
            self._api_key,
            self._headers,
            self._dialects,
        )
        client = Client(run)
        batches = Batches(run, client) if self._limits.mode == "batch" else None
        calls = Calls(run, batches or client, self._price, self._params.max_tokens, self._most_failed)
        return Session((self._call(task) for task in tasks), calls, run, [*filter(None, [batches]), client])

    def _call(self, task: Task) -> Call:
        messages = self._prompts.messages(task)
        key = request_key(
            endpoint=self._model.endpoint,
            model=self._model.name,
            messages=messages,
            sampling={**self._model.sampling, **self._model.extra, "max_tokens": self._params.max_tokens},
            schema=task_schema(task),
            sample=getattr(task, "sample", 0),
        )
        return Call(key, task, messages)


def _for_batches(limits: Limits) -> Limits:
    # A batch takes as many calls as there are, at the endpoint's own pace.
    wide = max(limits.lookahead, limits.batch_size)
    return replace(
        limits, concurrency=wide, lookahead=wide, rpm=math.inf, tpm=math.inf, poll=limits.batch_poll
    )


@dataclass(slots=True)
class _Slot:
    """A task in the order of the input, and its outcome or the coroutine that works on it."""

    call: Call
    outcome: Outcome | None = None
    work: asyncio.Task[Outcome] | None = None


class Session:
    """A run over a stream of calls: reads ahead, answers side by side, gives outcomes in order.

    Memory holds the look-ahead and no more. When the run must stop, calls in flight end and are kept. Each
    method runs in the same event loop. parts: what to close at the end.
    """

    def __init__(self, stream: Iterator[Call], calls: Calls, run: Run, parts: Sequence[Any]) -> None:
        self._stream, self._calls, self._run, self._parts = stream, calls, run, parts
        self._window = max(run.limits.lookahead, 2 * run.limits.concurrency)
        self._chunk = min(_CHUNK, self._window)
        self._slots: deque[_Slot] = deque()
        self._working: dict[str, asyncio.Task[Outcome]] = {}
        self._broken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._ended = False

    async def next_batch(self) -> list[tuple[Task, Outcome]]:
        """The next outcomes in order, at least one; an empty list at the end.

        Raises TeacherError when the run cannot go on, after the calls in flight have ended.
        """
        while not (self._ended or self._broken.done()) and len(self._slots) <= self._window - self._chunk:
            await self._read_ahead()
        if not self._slots and not self._broken.done():
            return []
        if not self._broken.done() and self._slots[0].work is not None:
            either: set[asyncio.Future[Any]] = {self._slots[0].work, self._broken}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if self._broken.done():
            # Calls in flight end, so that what is being paid for is kept.
            works = list(self._working.values())
            for work in works:
                if not self._calls.is_in_flight(work):
                    work.cancel()
            await asyncio.gather(*works, return_exceptions=True)
            await self._broken
        return await self._take_ready()

    async def close(self) -> None:
        """End the run at once, wherever it is; what is on disk stays."""
        self._calls.stop()
        works = [slot.work for slot in self._slots if slot.work is not None]
        for work in works:
            work.cancel()
        await asyncio.gather(*works, return_exceptions=True)
        if self._broken.done():
            self._broken.exception()
        for part in self._parts:
            await part.close()
        await self._run.journal.do(lambda store: store.release_all())
        await self._run.journal.close()

    async def _take_ready(self) -> list[tuple[Task, Outcome]]:
        ready: list[tuple[Task, Outcome]] = []
        used: list[str] = []
        while self._slots and (self._slots[0].work is None or self._slots[0].work.done()):
            slot = self._slots.popleft()
            outcome = slot.outcome if slot.work is None else slot.work.result()
            assert outcome is not None
            ready.append((slot.call.task, outcome))
            used.append(slot.call.key)
        await self._run.journal.do(lambda store: store.use(used))
        return ready

    async def _read_ahead(self) -> None:
        chunk = list(itertools.islice(self._stream, self._chunk))
        self._ended = len(chunk) < self._chunk
        if not chunk:
            return
        responses = await self._run.journal.do(lambda store: store.find([call.key for call in chunk]))
        try:
            for call in chunk:
                response = responses.get(call.key)
                # None also where checks have become stricter: Calls looks again and asks anew.
                outcome = None if response is None else self._calls.recall(call, response)
                self._slots.append(_Slot(call, outcome) if outcome is not None else self._start(call))
        except TeacherError as error:
            self._break(error)

    def _start(self, call: Call) -> _Slot:
        twin = self._working.get(call.key)
        work = asyncio.create_task(self._calls.answer(call) if twin is None else self._share(twin))
        if twin is None:
            self._working[call.key] = work
            work.add_done_callback(lambda _: self._working.pop(call.key, None))
        work.add_done_callback(self._notice)
        return _Slot(call, work=work)

    async def _share(self, twin: asyncio.Task[Outcome]) -> Outcome:
        """The outcome of a call that is being made for another row: equal calls are paid once."""
        outcome = await asyncio.shield(twin)
        if isinstance(outcome, Failure):
            self._run.usage.failed += 1
        else:
            self._run.usage.cached += 1
        return outcome

    def _notice(self, work: asyncio.Task[Outcome]) -> None:
        if not (work.cancelled() or self._broken.done()) and (error := work.exception()) is not None:
            self._break(error)

    def _break(self, error: BaseException) -> None:
        self._calls.stop()
        if not self._broken.done():
            self._broken.set_exception(error)
