"""One task to its outcome: claimed, asked, repeated as the faults of its calls deserve, put on disk."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

from knowtuning.teacher.openai.dialogue import Completion, Dialogue, Request
from knowtuning.teacher.openai.errors import RETRIED, CallFailed, Fault, TeacherError
from knowtuning.teacher.openai.journal import Journal
from knowtuning.teacher.openai.limits import Limits
from knowtuning.teacher.openai.pacing import Gate, Pace, pause
from knowtuning.teacher.openai.prices import Budget
from knowtuning.teacher.openai.prompts import Message
from knowtuning.teacher.openai.reading import read_reply
from knowtuning.teacher.openai.store import Response, Store
from knowtuning.teacher.openai.structured import reply_limit, task_schema
from knowtuning.teacher.openai.trial import Trial
from knowtuning.teacher.openai.usage import Progress, Usage
from knowtuning.teacher.tasks import Failure, Outcome, Task

_BYTES_PER_TOKEN = 4  # of English text, for estimates
_CUT, _BRIEF = 0.6, 100  # share of the tokens sent below which a prompt was cut; tokens too few to tell


@dataclass(frozen=True, slots=True)
class Call:
    """A task as a call: its key in the store and its opening messages."""

    key: str
    task: Task
    messages: list[Message]


class Delivery(Protocol):
    """How a call gets to the endpoint and its completion back: negotiation.Negotiator or batch.Batches."""

    async def complete(self, request: Request, name: str, schema: dict[str, Any]) -> Completion:
        """Make one call. Raises Fault, or TeacherError when the run cannot go on."""
        ...

    def settled(self) -> Callable[[Store], None]:
        """What else belongs into the transaction that settles the current asyncio task's call."""
        ...


class Online:
    """Answers calls that the store does not hold.

    who: the model and its endpoint, for messages. most_failed: rows that may stay without a usable reply.
    """

    def __init__(
        self,
        delivery: Delivery,
        journal: Journal,
        limits: Limits,
        budget: Budget,
        usage: Usage,
        progress: Progress,
        *,
        model: str,
        who: str,
        max_tokens: int,
        most_failed: float = math.inf,
    ) -> None:
        self._delivery = delivery
        self._journal = journal
        self._limits = limits
        self._budget = budget
        self._usage = usage
        self._progress = progress
        self._model = model
        self._who = who
        self._most_failed = most_failed
        self._trials: dict[str, Trial] = {}
        self._said: dict[str, float] = {}
        self._bytes_per_token = float(_BYTES_PER_TOKEN)
        self._cut_prompts = 0
        self._unusable = 0
        self._max_tokens = max_tokens
        self._cut = False
        self._keeps_in_flight = limits.mode == "online"
        self.gate = Gate(limits.concurrency)
        self._pace = Pace(limits.rpm, limits.tpm)
        self._workers = asyncio.Semaphore(limits.concurrency)
        self._reply_tokens = float(max_tokens)
        self._stopped = False
        self._in_flight: set[asyncio.Task | None] = set()

    def stop(self) -> None:
        """Start no further call; those in flight end and are kept."""
        self._stopped = True

    def is_in_flight(self, work: asyncio.Task) -> bool:
        """Whether this asyncio task must end for its call not to be lost. A batch outlives us."""
        return self._keeps_in_flight and work in self._in_flight

    async def answer(self, call: Call) -> Outcome:
        """The outcome of a call, paid for at most once among all processes that share the store.

        Raises TeacherError when the run cannot go on.
        """
        while True:
            async with self._workers:
                found = await self._journal.do(lambda store: store.claim(call.key))
                if found is True:
                    try:
                        return await self._ask(call)
                    finally:
                        self._in_flight.discard(asyncio.current_task())
            if isinstance(found, Response):
                outcome = self.recall(call, found)
                if outcome is not None:
                    return outcome
                await self._journal.do(lambda store: store.forget(call.key))
            else:
                await asyncio.sleep(self._limits.poll)
            self._check_stopped()

    def recall(self, call: Call, found: Response) -> Outcome | None:
        """The outcome that a stored reply is; None where it is to be asked for anew.

        That is where today's checks refuse it, or it was unusable and is to be bought again. Raises
        TeacherError where too many rows are unusable.
        """
        if found.failure and self._limits.ask_again:
            return None
        outcome: Outcome
        try:
            outcome = (
                Failure(reason=found.failure, raw=found.text)
                if found.failure
                else read_reply(call.task, found.text, call.messages)
            )
        except ValueError:
            return None
        self._judge(call.task, outcome)
        self._usage.failed += isinstance(outcome, Failure)
        self._usage.cached += 1
        self._usage.cached_prompt_tokens += found.prompt_tokens
        self._usage.cached_completion_tokens += found.completion_tokens
        return outcome

    async def _ask(self, call: Call) -> Outcome:
        try:
            async with self._trial(call.task).row():
                return await self._converse(call)
        except BaseException:
            await asyncio.shield(self._journal.do(lambda store: store.release(call.key)))
            raise

    async def _converse(self, call: Call) -> Outcome:
        # A model that thinks needs room that the task does not tell: once seen, every reply has it.
        limit = self._max_tokens if self._cut else reply_limit(call.task, self._max_tokens)
        dialogue, fault = Dialogue(call.task, Request(call.messages, limit), self._max_tokens), None
        try:
            outcome = None
            while outcome is None:
                outcome = dialogue.hear(await self._send(dialogue.request, call.task))
                if dialogue.complaint:
                    self._trial(call.task).unusable(dialogue.complaint)
        except CallFailed as failed:
            fault = failed.fault
            outcome = Failure(reason=failed.reason, raw=dialogue.text or None)
        self._cut |= dialogue.cut
        await self._settle(call, dialogue, outcome, kept=fault is None)
        self._usage.failed += isinstance(outcome, Failure)
        self._judge(call.task, outcome, fault)
        return outcome

    def _trial(self, task: Task) -> Trial:
        if task.name not in self._trials:
            limits = self._limits
            self._trials[task.name] = Trial(task.name, self._who, limits.give_up_after, limits.concurrency)
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
        trial.failed(fault or outcome)
        self._unusable += fault is None
        if self._unusable > self._most_failed:
            raise trial.hopeless(f"{self._unusable} rows, more than max_rejected allows,")

    async def _settle(self, call: Call, dialogue: Dialogue, outcome: Outcome, *, kept: bool) -> None:
        """Put an answer on disk: only then may anyone see it. An unusable one too, for it was paid.

        kept: whether there was a reply; else nothing is left behind.
        """
        tidy = self._delivery.settled()
        failure = outcome if isinstance(outcome, Failure) else None
        response = Response(
            key=call.key,
            task=call.task.name,
            model=self._model,
            text=str(failure.raw or "") if failure else dialogue.text,
            prompt_tokens=dialogue.prompt_tokens,
            completion_tokens=dialogue.completion_tokens,
            failure=failure.reason if failure else "",
        )

        def settle(store: Store) -> None:
            tidy(store)
            if kept:
                store.put(response)
            else:
                store.release(call.key)

        await self._journal.do(settle)

    async def _send(self, request: Request, task: Task) -> Completion:
        """Make a call until it is answered. Raises CallFailed or TeacherError."""
        attempt, waited = 0, 0.0
        while True:
            self._in_flight.discard(asyncio.current_task())
            try:
                return await self._once(request, task)
            except Fault as fault:
                attempt += 1
                wait = pause(attempt, self._limits.backoff, self._limits.backoff_cap)
                if fault.kind == "rate_limit":
                    wait = wait if fault.retry_after is None else fault.retry_after
                    waited += wait
                    if waited > self._limits.patience:
                        self._give_up(fault, f"rate-limited for {waited:.0f} s")
                elif fault.kind not in RETRIED:
                    self._give_up(fault, "turned down")
                elif attempt > self._limits.retries:
                    self._give_up(fault, f"no reply in {attempt} attempts")
                elif fault.retry_after is not None:
                    wait = max(wait, min(fault.retry_after, self._limits.backoff_cap))
            self._in_flight.discard(asyncio.current_task())
            await asyncio.sleep(wait)

    def _give_up(self, fault: Fault, what: str) -> None:
        """Raise CallFailed for this row."""
        raise CallFailed(f"{what}: {fault.message}", fault)

    async def _once(self, request: Request, task: Task) -> Completion:
        prompt_bytes = sum(len(message["content"].encode("utf-8")) for message in request.messages)
        expected = prompt_bytes / _BYTES_PER_TOKEN + self._reply_tokens
        await self._pace.reserve(expected)
        async with self._trial(task).turn(), self.gate.turn() as began:
            self._check_stopped()
            reserved = await self._budget.reserve(prompt_bytes, request.max_tokens)
            self._in_flight.add(asyncio.current_task())
            prompt_tokens = completion_tokens = 0
            try:
                completion = await self._delivery.complete(request, task.name, task_schema(task))
                completion = _counted(completion, prompt_bytes)
                prompt_tokens, completion_tokens = completion.prompt_tokens, completion.completion_tokens
            except Fault as fault:
                if fault.billed:
                    prompt_tokens, completion_tokens = _tokens(prompt_bytes), request.max_tokens
                    self._usage.maybe_billed += 1
                    self._usage.paid_prompt_tokens += prompt_tokens
                    self._usage.paid_completion_tokens += completion_tokens
                self._slow_down(began, fault)
                raise
            finally:
                self._budget.settle(reserved, prompt_tokens, completion_tokens)
            self._count(completion, expected)
            self._watch_context(completion, prompt_bytes, task)
            return completion

    def _slow_down(self, began: float, fault: Fault) -> None:
        """Lower the concurrency where the endpoint is overloaded, and say what is waited for."""
        if fault.kind == "timeout" and fault.billed:
            self.gate.refused(began, 0.0)
            self._say("timeout", f"{fault.message}; now {int(self.gate.limit)} at once")
        if fault.kind != "rate_limit":
            return
        wait = fault.retry_after or 0.0
        if wait > self._limits.patience:
            raise TeacherError(
                f"the endpoint asks to wait {wait:.0f} s ({fault.message}), longer than this run does; what "
                "was paid is kept, run again then"
            )
        self.gate.refused(began, wait)
        pauses = f"pauses of up to {self._limits.backoff_cap:g} s, for {self._limits.patience:g} s a row"
        told = f"{wait:.0f} s, as told" if fault.retry_after is not None else f"{pauses}: no time was told"
        self._say("429", f"the endpoint asks to slow down ({fault.message}); waiting {told}")

    def _say(self, about: str, line: str) -> None:
        """Print a line, once a minute about one thing."""
        now = time.monotonic()
        if now - self._said.get(about, -math.inf) >= 60:
            self._said[about] = now
            self._progress.say(f"{self._who}: {line}")

    def _watch_context(self, completion: Completion, prompt_bytes: int, task: Task) -> None:
        """Warn where the endpoint counts far fewer tokens than were sent: some cut a prompt in silence."""
        if not completion.prompt_tokens:
            return
        sent = prompt_bytes / self._bytes_per_token
        if completion.prompt_tokens > _CUT * sent or sent < _BRIEF:
            ratio = prompt_bytes / completion.prompt_tokens
            self._bytes_per_token += (ratio - self._bytes_per_token) / 20
            return
        self._cut_prompts += 1
        self._say(
            "context",
            f"warning: about {sent:.0f} tokens were sent for {task.id} and {completion.prompt_tokens} "
            "counted; the server may have cut the prompt to its context: raise that (num_ctx, --ctx-size, "
            f"--max-model-len); {self._cut_prompts} such so far",
        )

    def _count(self, completion: Completion, expected: float) -> None:
        self.gate.succeeded()
        self._usage.paid += 1
        self._usage.paid_prompt_tokens += completion.prompt_tokens
        self._usage.paid_completion_tokens += completion.completion_tokens
        self._pace.correct(completion.prompt_tokens + completion.completion_tokens - expected)
        # A running mean of reply lengths: limits count what replies take, not what they might.
        self._reply_tokens += (completion.completion_tokens - self._reply_tokens) / 20

    def _check_stopped(self) -> None:
        if self._stopped:
            raise asyncio.CancelledError


def _counted(completion: Completion, prompt_bytes: int) -> Completion:
    """A completion with its tokens, estimated where the endpoint does not count them."""
    if completion.prompt_tokens or completion.completion_tokens:
        return completion
    said = _tokens(len((completion.text + (completion.refusal or "")).encode("utf-8")))
    return replace(completion, prompt_tokens=_tokens(prompt_bytes), completion_tokens=said)


def _tokens(size: int) -> int:
    """About how many tokens so many bytes are; at least one."""
    return max(1, math.ceil(size / _BYTES_PER_TOKEN))
