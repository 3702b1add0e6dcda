"""One task to its outcome: claimed, asked, repeated as the faults of its calls deserve, put on disk.

Pace: how many calls run at once follows what the endpoint takes (additive increase, multiplicative decrease).
Trials: a model that cannot do a task is found out before it has cost much.
"""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Any, TypeVar
from weakref import WeakValueDictionary

from knowtuning.teacher.openai.client import Call, ClientRun, Model, Request
from knowtuning.teacher.openai.completions import RETRIED, Completion, Fault
from knowtuning.teacher.openai.limits import OVERHEAD, Limits, Price, TeacherError
from knowtuning.teacher.openai.prompts import reply_limit
from knowtuning.teacher.openai.reading import read_reply
from knowtuning.teacher.openai.store import Response, StoreWriter, command
from knowtuning.teacher.tasks import Failure, Outcome, Task

T = TypeVar("T")

TRIAL_CALLS = 40  # calls that may have been billed, without a usable reply among them, before a run stops
TRIAL_ROWS = 10  # rows that are asked at once until the first usable reply
_SHOWN = 160  # characters of an example reply
_BYTES_PER_TOKEN = 4  # of English text, for estimates
_CUT, _BRIEF = 0.6, 100  # share of the tokens sent below which a prompt was cut; tokens too few to tell

# How a call gets to the endpoint and its completion back: `complete` of Client or Batches.
Deliver = Callable[[Request], Awaitable[Completion]]


def judged(request: Request, completion: Completion, ceiling: int) -> tuple[Outcome, Request | None]:
    """What a completion is to its task, and what to send where it cannot be used; None where that is final.

    One that is cut off is asked for once more with twice `ceiling`, the most tokens of a first reply, and an
    unchanged prompt; one that is no JSON, breaks the schema or fails the task's check once more with the
    error shown; a refusal is final.
    """
    call, text = request.call, completion.text
    if completion.refusal:
        return Failure(reason="the teacher refused", raw=completion.refusal), None
    if completion.finish == "content_filter":
        return Failure(reason="the endpoint's content filter cut the reply", raw=text), None
    hint = ""
    if completion.reasoned and not text.strip():
        hint = "; only thoughts came: raise max_tokens, or lower the effort in extra"
    if completion.finish == "length":
        longer = replace(request, max_tokens=2 * ceiling) if request.max_tokens <= ceiling else None
        return Failure(reason=f"the reply was cut off at {request.max_tokens} tokens{hint}", raw=text), longer
    try:
        return read_reply(call.task, text, call.messages), None
    except ValueError as error:
        wish = f"That reply cannot be used: {error}{hint}. Reply again with the corrected JSON object alone."
        shown = [{"role": "assistant", "content": text}, {"role": "user", "content": wish}]
        first = request.messages == call.messages
        corrected = replace(request, messages=[*call.messages, *shown]) if first else None
        return Failure(reason=f"unusable reply: {error}{hint}", raw=text), corrected


def pause(attempt: int, first: float, cap: float) -> float:
    """Seconds to wait before repetition `attempt` (1, 2, …): even over 0..min(cap, first·2^(attempt-1)).

    The jitter is meant to differ between processes, so it is not seeded; no output depends on it.
    """
    return random.uniform(0, min(cap, first * 2 ** min(attempt - 1, 30)))


async def repeated(attempt: Callable[[], Awaitable[T]], limits: Limits) -> T:
    """Make attempts until one succeeds, with a pause behind each. Raises Fault where that is given up."""
    number, waited = 0, 0.0
    while True:
        number += 1
        try:
            return await attempt()
        except Fault as error:
            fault = error
        wait = pause(number, limits.backoff, limits.backoff_cap)
        if fault.kind == "rate_limit":
            wait = wait if fault.retry_after is None else fault.retry_after
            waited += wait
            if waited > limits.patience:
                raise replace(fault, message=f"rate-limited for {waited:.0f} s: {fault}")
        elif fault.kind not in RETRIED:
            raise replace(fault, message=f"turned down: {fault}")
        elif number > limits.retries:
            raise replace(fault, message=f"no reply in {number} attempts: {fault}")
        else:
            wait = max(wait, min(fault.retry_after or 0.0, limits.backoff_cap))
        await asyncio.sleep(wait)


class Room:
    """Lets some in; the others wait until they are allowed to go in."""

    def __init__(self) -> None:
        self.inside = 0
        self._changed = asyncio.Event()

    @asynccontextmanager
    async def enter(self, allowed: Callable[[], bool]) -> AsyncIterator[None]:
        """Be inside, once something is allowed."""
        while not allowed():
            await self._changed.wait()
        self.inside += 1
        try:
            yield
        finally:
            self.inside -= 1
            self.look_again()

    async def changed(self) -> None:
        """Wait until something may have changed."""
        await self._changed.wait()

    def look_again(self) -> None:
        """Have all who wait look whether they may go in."""
        self._changed.set()
        self._changed.clear()


class Gate:
    """Lets at most `limit` calls in; a 429 halves the limit, `limit` successes raise it by one.

    The limit stays between 1 and `concurrency`. A pause holds back all calls that have not started.
    """

    def __init__(self, concurrency: int) -> None:
        self._highest = concurrency
        self.limit = float(concurrency)
        self._room = Room()
        self._closed_until = 0.0
        self._slowed_at = -math.inf

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[float]:
        """Wait for a turn, hold it; gives the time at which it began (time.monotonic)."""
        async with self._room.enter(lambda: self._room.inside < int(self.limit)):
            while (left := self._closed_until - time.monotonic()) > 0:
                await asyncio.sleep(left)
            yield time.monotonic()

    def succeeded(self) -> None:
        """A call got a reply: raise the limit by 1/limit, that is by one every `limit` replies."""
        self.limit = min(self._highest, self.limit + 1 / self.limit)

    def refused(self, began: float, wait: float) -> None:
        """A call that began at `began` met a 429: hold all calls for `wait` seconds, halve the limit.

        One overload answers many calls in flight with 429; only those that began after the last halving
        tell something new.
        """
        now = time.monotonic()
        if began > self._slowed_at:
            self._slowed_at = now
            self.limit = max(1.0, self.limit / 2)
        self._closed_until = max(self._closed_until, now + wait)


class Pace:
    """Spreads requests and tokens evenly over the minutes: each moves the next start on by its share."""

    def __init__(self, rpm: float, tpm: float) -> None:
        self._seconds_per_request = 60 / rpm
        self._seconds_per_token = 60 / tpm
        self._next_request = self._next_token = 0.0

    async def reserve(self, tokens: float) -> None:
        """Wait until a request of about `tokens` tokens (prompt and reply) may start."""
        now = time.monotonic()
        start = max(now, self._next_request, self._next_token)
        self._next_request = start + self._seconds_per_request
        self._next_token = start + tokens * self._seconds_per_token
        if start > now:
            await asyncio.sleep(start - now)

    def correct(self, tokens: float) -> None:
        """A request took `tokens` more (or, negative, fewer) than was reserved for it."""
        self._next_token += tokens * self._seconds_per_token


class Budget:
    """What one command of the shell may spend, over all its stages. A call reserves the most that it can cost
    before it is made, on disk, so the limit holds; what a killed run had reserved stays spent."""

    def __init__(self, limit: float, price: Price | None, journal: StoreWriter) -> None:
        self._limit, self._journal = limit, journal
        self._price = None if limit == math.inf else price
        self._command = command()
        self._room = Room()

    async def reserve(self, prompt_bytes: int, max_tokens: int) -> int:
        """Set aside the most a call can cost, billionths of a dollar: no text has more tokens than bytes.

        Waits for calls in flight to cost less than was set aside for them. Raises TeacherError when the
        next call may still cost more than is left.
        """
        if self._price is None:
            return 0
        most = math.ceil(1e9 * self._price.of(prompt_bytes + OVERHEAD, max_tokens))
        while not await self._journal.do(lambda store: store.spend(self._command, most, 1e9 * self._limit)):
            if not self._room.inside:
                spent = await self._journal.do(lambda store: store.spent(self._command)) / 1e9
                raise TeacherError(
                    f"budget: ${spent:.6f} of ${self._limit:.6f} is spent and the next call may cost "
                    f"${most / 1e9:.6f}; what was paid is kept, raise KNOWTUNING_BUDGET and run again"
                )
            await self._room.changed()
        self._room.inside += 1
        return most

    async def settle(self, reserved: int, prompt_tokens: int, completion_tokens: int) -> None:
        """Turn what was set aside for a call into what it cost."""
        if self._price is None:
            return
        cost = math.ceil(1e9 * self._price.of(prompt_tokens, completion_tokens))
        await self._journal.do(lambda store: store.spend(self._command, cost - reserved, math.inf))
        self._room.inside -= 1
        self._room.look_again()


class Trial:
    """One kind of task at one model. Raises TeacherError where paying on would buy nothing.

    That is after so many rows, or calls that may have been billed, without a usable reply among them. Once
    one has come both allow for as many as are made at once, whose failures come in a bunch since they take
    twice the time.
    """

    def __init__(self, task: str, model: Model, limits: Limits) -> None:
        self._task, self._model, self._concurrency = task, model, limits.concurrency
        self._most_rows, self._most_calls = limits.give_up_after, TRIAL_CALLS
        self._proven = False
        self._rows, self._calls = Room(), Room()
        self._failed = self._wasted = 0  # rows, calls
        self.last: Failure | Fault | None = None  # why the last call or row brought nothing

    def row(self) -> AbstractAsyncContextManager[None]:
        """Ask for a row. Until the first usable reply few are asked at once, and none that may be in vain."""
        return self._rows.enter(
            lambda: self._proven or self._rows.inside < min(TRIAL_ROWS, self._most_rows - self._failed)
        )

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Make a call: it counts as wasted until `worked`, unless its fault was not billed."""
        async with self._calls.enter(
            lambda: self._proven or not self._wasted < TRIAL_CALLS <= self._wasted + self._calls.inside
        ):
            if self._wasted >= self._most_calls:
                raise self.hopeless(f"{self._wasted} calls in a row")
            try:
                yield
                self._wasted += 1
            except Fault as fault:
                self._wasted += fault.billed
                self.last = self.last if isinstance(self.last, Failure) and not fault.billed else fault
                raise

    def worked(self) -> None:
        """A usable reply has come, now or in an earlier run."""
        self._proven, self._failed, self._wasted = True, 0, 0
        self._most_rows = max(self._most_rows, self._concurrency)
        self._most_calls = max(TRIAL_CALLS, 2 * self._concurrency)

    def failed(self, failure: Failure | Fault) -> None:
        """A row stays without a usable reply. Raises TeacherError when it is one too many in a row."""
        self.last = failure
        self._failed += 1
        if self._failed >= self._most_rows:
            raise self.hopeless(f"{self._failed} rows in a row")

    def hopeless(self, what: str) -> TeacherError:
        """The error that ends the run; `what`: how many calls or rows failed."""
        if not isinstance(self.last, Failure):
            return TeacherError(
                f"{what} failed at {self._model}, the last one: {self.last}; what was paid is kept, run "
                "again when the endpoint answers"
            )
        raw = " ".join(str(self.last.raw or "").split())
        raw = raw if len(raw) <= _SHOWN else raw[:_SHOWN] + "…"
        return TeacherError(
            f"{self._model} cannot do the task {self._task!r}: {what} without a usable reply; the last: "
            f"{self.last.reason}; the reply was {raw!r}; take another model. These replies are kept and not "
            "bought again; KNOWTUNING_ASK_AGAIN=1 asks anew"
        )


class Calls:
    """Answers calls, side by side: from the store, or paid for at most once among all who share it.

    broken: done with the error of a run that cannot go on.
    """

    def __init__(self, run: ClientRun, deliver: Deliver) -> None:
        self._run, self._deliver, self._journal = run, deliver, run.journal
        self._budget = Budget(run.limits.budget, run.usage.price, run.journal)
        self._gate, self._pace = Gate(run.limits.concurrency), Pace(run.limits.rpm, run.limits.tpm)
        self._workers = asyncio.Semaphore(run.limits.concurrency)
        self._keys: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._works: set[asyncio.Task[Outcome]] = set()
        self._in_flight: set[asyncio.Task[Any] | None] = set()
        self._stopped = False
        self.broken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._trials: dict[str, Trial] = {}
        self._unusable = self._cut_prompts = 0
        self._cut_off = False
        self._warned: dict[str, float] = {}
        self._reply_tokens = float(run.max_tokens)

    async def start(self, calls: Sequence[Call]) -> list[asyncio.Future[Outcome]]:
        """Begin to answer calls. Raises TeacherError where too many stored replies are unusable."""
        responses = await self._journal.do(lambda store: store.find([call.key for call in calls]))
        return [self._start(call, responses.get(call.key)) for call in calls]

    def _start(self, call: Call, response: Response | None) -> asyncio.Future[Outcome]:
        outcome = None if response is None else self._recall(call, response)
        if outcome is not None:
            ready: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
            ready.set_result(outcome)
            return ready
        work = asyncio.create_task(self._answer(call))
        self._works.add(work)
        work.add_done_callback(self._done)
        return work

    def _done(self, work: asyncio.Task[Outcome]) -> None:
        self._works.discard(work)
        if not work.cancelled() and (error := work.exception()) and not self.broken.done():
            self._stopped = True
            self.broken.set_exception(error)

    async def end(self, *, at_once: bool) -> None:
        """Start no further call; those in flight end, so that what is being paid for is kept, or at once.

        A call in a batch is never waited for: the batch outlives us.
        """
        self._stopped = True
        works = list(self._works)
        for work in works:
            if at_once or self._run.limits.mode == "batch" or work not in self._in_flight:
                work.cancel()
        await asyncio.gather(*works, return_exceptions=True)
        if self.broken.done():
            self.broken.exception()

    async def _answer(self, call: Call) -> Outcome:
        # Equal calls of several rows wait for the first of them, and find its reply.
        async with self._keys.setdefault(call.key, asyncio.Lock()):
            while True:
                async with self._workers:
                    claimed = await self._journal.do(lambda store: store.claim(call.key))
                    if claimed is True:
                        try:
                            async with self._trial(call.task).row():
                                return await self._converse(call)
                        finally:
                            await asyncio.shield(self._journal.do(lambda store: store.release(call.key)))
                if isinstance(claimed, Response):
                    outcome = self._recall(call, claimed)
                    if outcome is not None:
                        return outcome
                    await self._journal.do(lambda store: store.forget(call.key))
                else:
                    await asyncio.sleep(self._run.limits.poll)

    def _recall(self, call: Call, response: Response) -> Outcome | None:
        """The outcome that a stored reply is; None where it is to be asked for anew: today's checks refuse
        it, or it was unusable and is to be bought again."""
        outcome: Outcome
        if response.failure:
            if self._run.limits.ask_again and call.key not in self._run.used:
                return None
            outcome = Failure(reason=response.failure, raw=response.text)
        else:
            try:
                outcome = read_reply(call.task, response.text, call.messages)
            except ValueError:
                return None
        self._run.used.add(call.key)
        self._judge(call.task, outcome)
        self._run.usage.cached += 1
        self._run.usage.cached_prompt_tokens += response.prompt_tokens
        self._run.usage.cached_completion_tokens += response.completion_tokens
        return outcome

    async def _converse(self, call: Call) -> Outcome:
        # A model that thinks needs room that the task does not tell: once seen, every reply has it.
        ceiling = self._run.max_tokens
        limit = ceiling if self._cut_off else reply_limit(call.task, ceiling)
        request: Request | None = Request(call, call.messages, limit)
        sent: list[Completion] = []
        while request is not None:
            try:
                completion = await repeated(partial(self._send, request), self._run.limits)
            except Fault as fault:
                # Given up for this run: nothing is kept, the next run asks again.
                outcome: Outcome = Failure(reason=str(fault), raw=sent[-1].text if sent else None)
                self._judge(call.task, outcome, fault)
                return outcome
            sent.append(completion)
            outcome, request = judged(request, completion, ceiling)
            if isinstance(outcome, Failure):
                self._trial(call.task).last = outcome
                self._cut_off |= completion.finish == "length"
        # On disk first: only then may anyone see it. An unusable one too, for it was paid.
        response = _response(call, sent, outcome, self._run.model.name)
        await self._journal.do(lambda store: store.put(response))
        self._run.used.add(call.key)
        self._judge(call.task, outcome)
        return outcome

    def _trial(self, task: Task) -> Trial:
        if task.name not in self._trials:
            self._trials[task.name] = Trial(task.name, self._run.model, self._run.limits)
        return self._trials[task.name]

    def _judge(self, task: Task, outcome: Outcome, fault: Fault | None = None) -> None:
        """Raise TeacherError when rows fail one after the other, or more than may.

        fault: why the call brought no reply; such a row is asked again by the next run and counts only in
        a row with others.
        """
        trial = self._trial(task)
        if not isinstance(outcome, Failure):
            trial.worked()
            return
        self._run.usage.failed += 1
        trial.failed(fault or outcome)
        self._unusable += fault is None
        if self._unusable > self._run.most_failed:
            raise trial.hopeless(f"{self._unusable} rows, more than max_rejected allows,")

    async def _send(self, request: Request) -> Completion:
        """Make a call once, within pace, budget and concurrency. Raises Fault or TeacherError."""
        prompt_bytes = sum(len(message["content"].encode("utf-8")) for message in request.messages)
        expected = prompt_bytes / _BYTES_PER_TOKEN + self._reply_tokens
        await self._pace.reserve(expected)
        async with self._trial(request.call.task).turn(), self._gate.turn() as began:
            if self._stopped:
                raise asyncio.CancelledError
            reserved = await self._budget.reserve(prompt_bytes, request.max_tokens)
            self._in_flight.add(asyncio.current_task())
            try:
                completion = _counted(await self._deliver(request), prompt_bytes)
                self._run.usage.paid += 1
                await self._pay(reserved, completion.prompt_tokens, completion.completion_tokens)
            except TeacherError:
                await self._pay(reserved, 0, 0)
                raise
            except Fault as fault:
                self._run.usage.maybe_billed += fault.billed
                await self._pay(
                    reserved, *((_tokens(prompt_bytes), request.max_tokens) if fault.billed else (0, 0))
                )
                self._slow_down(began, fault)
                raise
            finally:
                self._in_flight.discard(asyncio.current_task())
        self._gate.succeeded()
        self._pace.correct(completion.prompt_tokens + completion.completion_tokens - expected)
        # A running mean of reply lengths: limits count what replies take, not what they might.
        self._reply_tokens += (completion.completion_tokens - self._reply_tokens) / 20
        self._watch_context(completion, prompt_bytes, request.call.task)
        return completion

    async def _pay(self, reserved: int, prompt_tokens: int, completion_tokens: int) -> None:
        self._run.usage.paid_prompt_tokens += prompt_tokens
        self._run.usage.paid_completion_tokens += completion_tokens
        await self._budget.settle(reserved, prompt_tokens, completion_tokens)

    def _slow_down(self, began: float, fault: Fault) -> None:
        """Lower the concurrency where the endpoint is overloaded, and say what is waited for."""
        limits = self._run.limits
        if fault.kind == "timeout" and fault.billed:
            self._gate.refused(began, 0.0)
            self._warn("timeout", f"{fault}; now {int(self._gate.limit)} at once")
        if fault.kind != "rate_limit":
            return
        wait = fault.retry_after or 0.0
        if wait > limits.patience:
            raise TeacherError(
                f"the endpoint asks to wait {wait:.0f} s ({fault}), longer than this run does; what was paid "
                "is kept, run again then"
            )
        self._gate.refused(began, wait)
        span = f"{wait:.0f} s, as told"
        if fault.retry_after is None:
            cap, patience = limits.backoff_cap, limits.patience
            span = f"pauses of up to {cap:g} s, for {patience:g} s a row: no time was told"
        self._warn("429", f"the endpoint asks to slow down ({fault}); waiting {span}")

    def _watch_context(self, completion: Completion, prompt_bytes: int, task: Task) -> None:
        """Warn where the endpoint counts far fewer tokens than were sent: some cut a prompt in silence."""
        sent = prompt_bytes / _BYTES_PER_TOKEN
        if completion.prompt_tokens < _CUT * sent and sent >= _BRIEF:
            self._cut_prompts += 1
            self._warn(
                "context",
                f"warning: about {sent:.0f} tokens were sent for {task.id} and {completion.prompt_tokens} "
                "counted; the server may have cut the prompt to its context: raise that (num_ctx, "
                f"--ctx-size, --max-model-len); {self._cut_prompts} such so far",
            )

    def _warn(self, about: str, line: str) -> None:
        """Print a line, once a minute about one thing."""
        now = time.monotonic()
        if now - self._warned.get(about, -math.inf) >= 60:
            self._warned[about] = now
            self._run.say(f"{self._run.model}: {line}")


def _response(call: Call, sent: Sequence[Completion], outcome: Outcome, model: str) -> Response:
    failure = outcome if isinstance(outcome, Failure) else None
    return Response(
        call.key,
        call.task.name,
        model,
        text=str(failure.raw or "") if failure else sent[-1].text,
        prompt_tokens=sum(each.prompt_tokens for each in sent),
        completion_tokens=sum(each.completion_tokens for each in sent),
        failure=failure.reason if failure else "",
        row=call.task.id,
        prompt=call.messages[-1]["content"],
        time=datetime.now(UTC).isoformat(timespec="seconds"),
        served=sent[-1].model,
    )


def _counted(completion: Completion, prompt_bytes: int) -> Completion:
    """A completion with its tokens, estimated where the endpoint does not count them."""
    if completion.prompt_tokens or completion.completion_tokens:
        return completion
    tokens = _tokens(len((completion.text + (completion.refusal or "")).encode("utf-8")))
    return replace(completion, prompt_tokens=_tokens(prompt_bytes), completion_tokens=tokens)


def _tokens(size: int) -> int:
    """About how many tokens so many bytes are; at least one."""
    return max(1, math.ceil(size / _BYTES_PER_TOKEN))
