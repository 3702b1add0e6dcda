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
from functools import cache, partial
from typing import Any, TypeVar

from knowtuning.teacher.openai.client import RETRIED, Call, Completion, Fault, Run
from knowtuning.teacher.openai.limits import OVERHEAD, Limits, TeacherError
from knowtuning.teacher.openai.reading import read_reply
from knowtuning.teacher.openai.store import Response, command
from knowtuning.teacher.tasks import Failure, Outcome, Task

T = TypeVar("T")

TRIAL_CALLS = 40  # calls that may have been billed, without a usable reply among them, before a run stops
TRIAL_ROWS = 10  # rows that are asked at once until the first usable reply
_SHOWN = 160  # characters of an example reply
_BYTES_PER_TOKEN = 4  # of English text, for estimates
_CUT, _BRIEF = 0.6, 100  # share of the tokens sent below which a prompt was cut; tokens too few to tell


def judged(call: Call, completion: Completion, ceiling: int) -> tuple[Outcome, Call | None]:
    """What a completion is to its task, and the call to make where it cannot be used; None: it is final.

    What was cut off is asked for once more with twice `ceiling`, the most tokens of a first reply; what is no
    JSON, breaks the schema or fails the task's check once more with the error shown; a refusal is final.
    """
    text = completion.text
    if completion.refusal:
        return Failure(reason="the teacher refused", raw=completion.refusal), None
    if completion.finish == "content_filter":
        return Failure(reason="the endpoint's content filter cut the reply", raw=text), None
    hint = ""
    if completion.reasoned and not text.strip():
        hint = "; only thoughts came: raise max_tokens, or lower the effort in extra"
    if completion.finish == "length":
        longer = replace(call, max_tokens=2 * ceiling) if call.max_tokens <= ceiling else None
        return Failure(reason=f"the reply was cut off at {call.max_tokens} tokens{hint}", raw=text), longer
    try:
        return read_reply(call.task, text, call.opening), None
    except ValueError as error:
        wish = f"That reply cannot be used: {error}{hint}. Reply again with the corrected JSON object alone."
        shown = [{"role": "assistant", "content": text}, {"role": "user", "content": wish}]
        first = call.messages == call.opening
        corrected = replace(call, messages=[*call.opening, *shown]) if first else None
        return Failure(reason=f"unusable reply: {error}{hint}", raw=text), corrected


def pause(attempt: int, first: float, cap: float) -> float:
    """Seconds to wait before repetition `attempt` (1, 2, …): even over 0..min(cap, first·2^(attempt-1))."""
    # Not seeded: it is meant to differ between processes, and no output depends on it.
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
        self.changed = asyncio.Event()

    @asynccontextmanager
    async def enter(self, allowed: Callable[[], bool]) -> AsyncIterator[None]:
        """Be inside, once that is allowed."""
        while not allowed():
            await self.changed.wait()
        self.inside += 1
        try:
            yield
        finally:
            self.leave()

    def leave(self) -> None:
        """Have all who wait look whether they may go in."""
        self.inside -= 1
        self.changed.set()
        self.changed.clear()


class Gate:
    """When calls may start. At most `limit` are in flight: a 429 halves the limit, `limit` successes raise it
    by one, between 1 and `concurrency`. Requests and tokens are spread evenly over the minutes."""

    def __init__(self, concurrency: int, rpm: float = math.inf, tpm: float = math.inf) -> None:
        self.limit, self._highest = float(concurrency), concurrency
        self._room = Room()
        self._request_seconds, self._token_seconds = 60 / rpm, 60 / tpm
        self._next_request = self._next_token = self._closed_until = 0.0
        self._slowed_at = -math.inf

    @asynccontextmanager
    async def turn(self, tokens: float = 0.0) -> AsyncIterator[float]:
        """Wait for the turn of a call of about `tokens` tokens (prompt and reply) and hold it; gives the time
        at which it began (time.monotonic)."""
        async with self._room.enter(lambda: self._room.inside < int(self.limit)):
            now = time.monotonic()
            start = max(now, self._next_request, self._next_token)
            self._next_request = start + self._request_seconds
            self._next_token = start + tokens * self._token_seconds
            while (left := max(start, self._closed_until) - now) > 0:
                await asyncio.sleep(left)
                now = time.monotonic()
            yield now

    def succeeded(self, further: float = 0.0) -> None:
        """A call got a reply, with `further` tokens than it was let in for (fewer: negative)."""
        self.limit = min(self._highest, self.limit + 1 / self.limit)
        self._next_token += further * self._token_seconds

    def refused(self, began: float, wait: float) -> None:
        """A call that began at `began` met a 429: hold all calls for `wait` seconds, halve the limit."""
        now = time.monotonic()
        # One overload answers many calls; only those that began after the last halving tell something new.
        if began > self._slowed_at:
            self._slowed_at = now
            self.limit = max(1.0, self.limit / 2)
        self._closed_until = max(self._closed_until, now + wait)


class Budget:
    """What one command of the shell may spend, over all its stages. A call reserves the most that it can cost
    before it is made, on disk, so the limit holds; what a killed run had reserved stays spent."""

    def __init__(self, run: Run) -> None:
        self._limit, self._usage, self._store = run.limits.budget, run.usage, run.store
        self._price = None if self._limit == math.inf else run.usage.price
        self._command, self._room = command(), Room()

    async def reserve(self, prompt_bytes: int, max_tokens: int) -> int:
        """Set aside the most a call can cost, billionths of a dollar: no text has more tokens than bytes.

        Waits for calls in flight to cost less than that. Raises TeacherError when too little is left even so.
        """
        if self._price is None:
            return 0
        most = math.ceil(1e9 * self._price.of(prompt_bytes + OVERHEAD, max_tokens))
        while not await self._store.do(lambda store: store.spend(self._command, most, 1e9 * self._limit)):
            if not self._room.inside:
                spent = await self._store.do(lambda store: store.spent(self._command)) / 1e9
                raise TeacherError(
                    f"budget: ${spent:.6f} of ${self._limit:.6f} is spent and the next call may cost "
                    f"${most / 1e9:.6f}; what was paid is kept, raise KNOWTUNING_BUDGET and run again"
                )
            await self._room.changed.wait()
        self._room.inside += 1
        return most

    async def settle(self, reserved: int, prompt_tokens: int, completion_tokens: int) -> None:
        """Count what a call took, in place of what was set aside for it."""
        self._usage.paid_prompt_tokens += prompt_tokens
        self._usage.paid_completion_tokens += completion_tokens
        if self._price is None:
            return
        cost = math.ceil(1e9 * self._price.of(prompt_tokens, completion_tokens))
        await self._store.do(lambda store: store.spend(self._command, cost - reserved, math.inf))
        self._room.leave()


class Trial:
    """One kind of task at one model. Raises TeacherError where paying on would buy nothing: after so many
    rows, or calls that may have been billed, without a usable reply among them. Once one has come both allow
    for as many as are made at once, whose failures come in a bunch since they take twice the time."""

    def __init__(self, run: Run, task: str) -> None:
        self._task, self._run = task, run
        self._most_rows, self._most_calls = run.limits.give_up_after, TRIAL_CALLS
        self._proven = False
        self._rows, self._calls = Room(), Room()
        self._failed = self._unusable = 0  # rows: in a row, in all
        self._wasted = 0  # calls in a row
        self.last: Failure | Fault | None = None  # why the last call or row brought nothing

    def row(self) -> AbstractAsyncContextManager[None]:
        """Ask for a row. Until the first usable reply few are asked at once, and none that may be in vain."""
        return self._rows.enter(
            lambda: self._proven or self._rows.inside < min(TRIAL_ROWS, self._most_rows - self._failed)
        )

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Make a call: it counts as wasted until a usable reply, unless its fault was not billed."""
        async with self._calls.enter(
            lambda: self._proven or not self._wasted < TRIAL_CALLS <= self._wasted + self._calls.inside
        ):
            if self._wasted >= self._most_calls:
                raise self._hopeless(f"{self._wasted} calls in a row")
            try:
                yield
                self._wasted += 1
            except Fault as fault:
                self._wasted += fault.billed
                self.last = self.last if isinstance(self.last, Failure) and not fault.billed else fault
                raise

    def judge(self, outcome: Outcome, fault: Fault | None = None) -> None:
        """Count the outcome of a row. Raises TeacherError when rows fail in a row, or more than may.

        fault: why no reply came; such a row is asked again by the next run and is not among those that may.
        """
        limits = self._run.limits
        if not isinstance(outcome, Failure):
            self._proven, self._failed, self._wasted = True, 0, 0
            self._most_rows = max(limits.give_up_after, limits.concurrency)
            self._most_calls = max(TRIAL_CALLS, 2 * limits.concurrency)
            return
        self.last = fault or outcome
        self._run.usage.failed += 1
        self._failed += 1
        self._unusable += fault is None
        if self._failed >= self._most_rows:
            raise self._hopeless(f"{self._failed} rows in a row")
        if self._unusable > self._run.most_failed:
            raise self._hopeless(f"{self._unusable} rows, more than max_rejected allows,")

    def _hopeless(self, what: str) -> TeacherError:
        """The error that ends the run; `what`: how many calls or rows failed."""
        if not isinstance(self.last, Failure):
            return TeacherError(
                f"{what} failed at {self._run}, the last one: {self.last}; what was paid is kept, run "
                "again when the endpoint answers"
            )
        raw = " ".join(str(self.last.raw or "").split())
        raw = raw if len(raw) <= _SHOWN else raw[:_SHOWN] + "…"
        return TeacherError(
            f"{self._run} cannot do the task {self._task!r}: {what} without a usable reply; the last: "
            f"{self.last.reason}; the reply was {raw!r}; take another model. These replies are kept and not "
            "bought again; KNOWTUNING_ASK_AGAIN=1 asks anew"
        )


class Calls:
    """Answers calls, side by side: from the store, or paid for at most once among all who share it.

    deliver: takes a call to the endpoint and brings its completion, `complete` of Client or Batches.
    """

    def __init__(self, run: Run, deliver: Callable[[Call], Awaitable[Completion]]) -> None:
        self._run, self._deliver, self._store = run, deliver, run.store
        self._budget = Budget(run)
        self._gate = Gate(run.limits.concurrency, run.limits.rpm, run.limits.tpm)
        self._workers = asyncio.Semaphore(run.limits.concurrency)
        self._works: set[asyncio.Task[Outcome]] = set()
        self._in_flight: set[asyncio.Task[Any] | None] = set()
        self._stopped = False
        self.error: BaseException | None = None  # why the run cannot go on
        self._trial = cache(partial(Trial, run))
        self._cut_prompts = 0
        self._cut_off = False
        self._warned: dict[str, float] = {}
        self._bytes_per_token, self._reply_tokens = float(_BYTES_PER_TOKEN), float(run.params.max_tokens)

    async def start(self, calls: Sequence[Call]) -> list[asyncio.Future[Outcome]]:
        """Begin to answer calls. Raises TeacherError where too many stored replies are unusable."""
        responses = await self._store.do(lambda store: store.find([call.key for call in calls]))
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
        if not work.cancelled() and (error := work.exception()):
            self.error = self.error or error
            self._stop(at_once=False)

    def _stop(self, *, at_once: bool) -> None:
        self._stopped = True
        for work in self._works:
            # A call in a batch is never waited for: the batch outlives us.
            if at_once or self._run.limits.mode == "batch" or work not in self._in_flight:
                work.cancel()

    async def end(self, *, at_once: bool) -> None:
        """Start no further call; those in flight end, so that what is being paid for is kept, or at once."""
        self._stop(at_once=at_once)
        await asyncio.gather(*self._works, return_exceptions=True)

    async def _answer(self, call: Call) -> Outcome:
        while True:
            async with self._workers:
                claimed = await self._store.do(lambda store: store.claim(call.key))
                if claimed is True:
                    try:
                        async with self._trial(call.task.name).row():
                            return await self._converse(call)
                    finally:
                        await asyncio.shield(self._store.do(lambda store: store.release(call.key)))
            if isinstance(claimed, Response):
                outcome = self._recall(call, claimed)
                if outcome is not None:
                    return outcome
                await self._store.do(lambda store: store.forget(call.key))
            else:
                # Another process has it, or an equal call of another row.
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
                outcome = read_reply(call.task, response.text, call.opening)
            except ValueError:
                return None
        self._run.used.add(call.key)
        self._trial(call.task.name).judge(outcome)
        usage = self._run.usage
        usage.cached += 1
        usage.cached_prompt_tokens += response.prompt_tokens
        usage.cached_completion_tokens += response.completion_tokens
        return outcome

    async def _converse(self, call: Call) -> Outcome:
        trial, ceiling = self._trial(call.task.name), self._run.params.max_tokens
        # A model that thinks needs room that the task does not tell: once seen, every reply has it.
        following: Call | None = replace(call, max_tokens=ceiling) if self._cut_off else call
        sent: list[Completion] = []
        while following is not None:
            try:
                completion = await repeated(partial(self._send, following), self._run.limits)
            except Fault as fault:
                # Given up for this run: nothing is kept, the next run asks again.
                outcome: Outcome = Failure(reason=str(fault), raw=sent[-1].text if sent else None)
                trial.judge(outcome, fault)
                return outcome
            sent.append(completion)
            outcome, following = judged(following, completion, ceiling)
            if isinstance(outcome, Failure):
                trial.last = outcome
                self._cut_off |= completion.finish == "length"
        # On disk first: only then may anyone see it. An unusable one too, for it was paid.
        response = _response(call, sent, outcome, self._run.params.model)
        await self._store.do(lambda store: store.put(response))
        self._run.used.add(call.key)
        trial.judge(outcome)
        return outcome

    async def _send(self, call: Call) -> Completion:
        """Make a call once, within pace, budget and concurrency. Raises Fault or TeacherError."""
        prompt_bytes = sum(len(message["content"].encode("utf-8")) for message in call.messages)
        expected = prompt_bytes / _BYTES_PER_TOKEN + self._reply_tokens
        async with self._trial(call.task.name).turn(), self._gate.turn(expected) as began:
            if self._stopped:
                raise asyncio.CancelledError
            reserved = await self._budget.reserve(prompt_bytes, call.max_tokens)
            self._in_flight.add(asyncio.current_task())
            try:
                completion = _counted(await self._deliver(call), prompt_bytes)
                self._run.usage.paid += 1
                await self._budget.settle(reserved, completion.prompt_tokens, completion.completion_tokens)
            except TeacherError:
                await self._budget.settle(reserved, 0, 0)
                raise
            except Fault as fault:
                self._run.usage.maybe_billed += fault.billed
                spent = (_tokens(prompt_bytes), call.max_tokens) if fault.billed else (0, 0)
                await self._budget.settle(reserved, *spent)
                self._slow_down(began, fault)
                raise
            finally:
                self._in_flight.discard(asyncio.current_task())
        self._gate.succeeded(completion.prompt_tokens + completion.completion_tokens - expected)
        # A running mean of reply lengths: limits count what replies take, not what they might.
        self._reply_tokens += (completion.completion_tokens - self._reply_tokens) / 20
        self._watch_context(completion, prompt_bytes, call.task)
        return completion

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
        sent, counted = prompt_bytes / self._bytes_per_token, completion.prompt_tokens
        if counted > _CUT * sent or sent < _BRIEF:
            self._bytes_per_token += (prompt_bytes / max(1, counted) - self._bytes_per_token) / 20
            return
        self._cut_prompts += 1
        self._warn(
            "context",
            f"warning: about {sent:.0f} tokens were sent for {task.id} and {counted} counted; the server may "
            "have cut the prompt to its context: raise that (num_ctx, --ctx-size, --max-model-len); "
            f"{self._cut_prompts} such so far",
        )

    def _warn(self, about: str, line: str) -> None:
        """Print a line, once a minute about one thing."""
        now = time.monotonic()
        if now - self._warned.get(about, -math.inf) >= 60:
            self._warned[about] = now
            self._run.say(f"{self._run}: {line}")


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
