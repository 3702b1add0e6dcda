"""One task to its outcome: claimed, asked, repeated as the faults of its calls deserve, put on disk."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from knowtuning.teacher.openai.dialogue import Completion, Dialogue, Request, read_reply
from knowtuning.teacher.openai.errors import RETRIED, CallFailed, Fault, TeacherError
from knowtuning.teacher.openai.journal import Journal
from knowtuning.teacher.openai.limits import Limits
from knowtuning.teacher.openai.pacing import Gate, Pace, pause
from knowtuning.teacher.openai.prices import Budget
from knowtuning.teacher.openai.prompts import Message
from knowtuning.teacher.openai.store import Response, Store
from knowtuning.teacher.openai.structured import reply_schema
from knowtuning.teacher.openai.usage import Usage
from knowtuning.teacher.tasks import Failure, Outcome, Task

_BYTES_PER_TOKEN = 4  # of English text, for estimates


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
    """Answers calls that the store does not hold."""

    def __init__(
        self,
        delivery: Delivery,
        journal: Journal,
        limits: Limits,
        budget: Budget,
        usage: Usage,
        *,
        model: str,
        max_tokens: int,
    ) -> None:
        self._delivery = delivery
        self._journal = journal
        self._limits = limits
        self._budget = budget
        self._usage = usage
        self._model = model
        self._max_tokens = max_tokens
        self._keeps_in_flight = limits.mode == "online"
        self.gate = Gate(limits.concurrency)
        self._pace = Pace(limits.rpm, limits.tpm)
        self._workers = asyncio.Semaphore(limits.concurrency)
        self._failed_in_row = 0
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
                outcome = self._recall(call, found)
                if outcome is not None:
                    return outcome
                await self._journal.do(lambda store: store.forget(call.key))
            else:
                await asyncio.sleep(self._limits.poll)
            self._check_stopped()

    def _recall(self, call: Call, found: Response) -> Outcome | None:
        """A reply that another process paid for meanwhile, if today's checks accept it."""
        try:
            outcome = read_reply(call.task, found.text, call.messages)
        except ValueError:
            return None
        self._usage.cached += 1
        self._usage.cached_prompt_tokens += found.prompt_tokens
        self._usage.cached_completion_tokens += found.completion_tokens
        return outcome

    async def _ask(self, call: Call) -> Outcome:
        dialogue = Dialogue(call.task, Request(call.messages, self._max_tokens))
        try:
            outcome = None
            while outcome is None:
                outcome = dialogue.hear(await self._send(dialogue.request, call.task))
        except CallFailed as failed:
            outcome = Failure(reason=failed.reason, raw=failed.raw or dialogue.text or None)
        except BaseException:
            await asyncio.shield(self._journal.do(lambda store: store.release(call.key)))
            raise
        await self._settle(call, outcome, self._response(call, dialogue))
        return outcome

    async def _settle(self, call: Call, outcome: Outcome, response: Response) -> None:
        """Put an answer on disk: only then may anyone see it. A failure leaves nothing behind."""
        tidy = self._delivery.settled()

        def settle(store: Store) -> None:
            tidy(store)
            if isinstance(outcome, Failure):
                store.release(call.key)
            else:
                store.put(response)

        await self._journal.do(settle)
        self._usage.failed += isinstance(outcome, Failure)

    def _response(self, call: Call, dialogue: Dialogue) -> Response:
        return Response(
            key=call.key,
            task=call.task.name,
            model=self._model,
            text=dialogue.text,
            prompt_tokens=dialogue.prompt_tokens,
            completion_tokens=dialogue.completion_tokens,
        )

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
        """Raise CallFailed for this row, or TeacherError when rows fail one after the other."""
        self._failed_in_row += 1
        if self._failed_in_row >= self._limits.give_up_after:
            raise TeacherError(
                f"{self._failed_in_row} calls in a row failed, the last one: {what}, {fault.message}; what "
                "was paid is kept, run again when the endpoint answers"
            )
        raise CallFailed(f"{what}: {fault.message}")

    async def _once(self, request: Request, task: Task) -> Completion:
        prompt_bytes = sum(len(message["content"].encode("utf-8")) for message in request.messages)
        expected = prompt_bytes / _BYTES_PER_TOKEN + self._reply_tokens
        await self._pace.reserve(expected)
        async with self.gate.turn() as began:
            self._check_stopped()
            reserved = await self._budget.reserve(prompt_bytes, request.max_tokens)
            self._in_flight.add(asyncio.current_task())
            prompt_tokens = completion_tokens = 0
            try:
                completion = await self._delivery.complete(request, task.name, reply_schema(task.reply_type))
                prompt_tokens, completion_tokens = completion.prompt_tokens, completion.completion_tokens
            except Fault as fault:
                if fault.kind == "rate_limit":
                    self._slow_down(began, fault)
                raise
            finally:
                self._budget.settle(reserved, prompt_tokens, completion_tokens)
            self._count(completion, expected)
            return completion

    def _slow_down(self, began: float, fault: Fault) -> None:
        wait = fault.retry_after or 0.0
        if wait > self._limits.patience:
            raise TeacherError(
                f"the endpoint asks to wait {wait:.0f} s ({fault.message}), longer than this run does; what "
                "was paid is kept, run again then"
            )
        self.gate.refused(began, wait)

    def _count(self, completion: Completion, expected: float) -> None:
        self.gate.succeeded()
        self._failed_in_row = 0
        self._usage.paid += 1
        self._usage.paid_prompt_tokens += completion.prompt_tokens
        self._usage.paid_completion_tokens += completion.completion_tokens
        self._pace.correct(completion.prompt_tokens + completion.completion_tokens - expected)
        # A running mean of reply lengths: limits count what replies take, not what they might.
        self._reply_tokens += (completion.completion_tokens - self._reply_tokens) / 20

    def _check_stopped(self) -> None:
        if self._stopped:
            raise asyncio.CancelledError
