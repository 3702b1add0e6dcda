"""Delivery by the Batch API: calls are gathered, submitted as one file, polled for and collected.

To the rest of the teacher a batch is a slow endpoint: the same calls, keys and checks, so the same replies.
What a call still lacks (a correction, a longer limit, an expired line) goes into the next batch.

Nothing paid is lost to a kill: the endpoint's list says which batches are ours (by a mark) and what they
hold, a line is known by what it asks, and results are on disk before they are used.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from knowtuning.core.storage import digest
from knowtuning.teacher.openai.calls import repeated
from knowtuning.teacher.openai.client import Call, Client, Run
from knowtuning.teacher.openai.completions import Completion, Fault, completion_of
from knowtuning.teacher.openai.limits import TeacherError
from knowtuning.teacher.openai.store import line_of

T = TypeVar("T")

MARK = "knowtuning"
_PATH = "/v1/chat/completions"
_ENDED = ("completed", "failed", "expired", "cancelled")


class Batches:
    """Makes calls in batches. `complete` is what Client.complete is online."""

    def __init__(self, run: Run, client: Client) -> None:
        self._run, self._client = run, client
        self._scope = digest(run.endpoint, run.params.model)
        self._waiting: dict[str, asyncio.Future[Completion]] = {}
        self._buffer: dict[str, dict[str, Any]] = {}
        self._open: dict[str, set[str]] = {}  # the lines of each open batch
        self._introduced = asyncio.Lock()
        self._driver: asyncio.Task[None] | None = None
        self._grown = asyncio.Event()

    async def complete(self, call: Call) -> Completion:
        """Make one call by batch; the first of each task goes online, to learn the dialect."""
        async with self._introduced:
            if self._driver is None:
                self._client.open()
                await self._resume()
                self._driver = asyncio.create_task(self._drive())
        line = line_of(call.key, call.messages, call.max_tokens)
        result = await self._run.store.do(lambda store: store.batch_result(line))
        if result is not None:
            return completion_of(200, json.loads(result), {})
        if not any(line in lines for lines in self._open.values()):
            async with self._introduced:
                dialect = self._client.dialect(call.task)
                if dialect is None:
                    return await self._client.complete(call)
            self._buffer[line] = self._run.body(call, dialect)
            self._grown.set()
        if self._driver.done():
            await self._driver
        future = self._waiting[line] = asyncio.get_running_loop().create_future()
        return await future

    async def close(self) -> None:
        """Stop polling; open batches go on at the endpoint and are found again by the next run."""
        if self._driver is not None:
            self._driver.cancel()
            await asyncio.gather(self._driver, return_exceptions=True)

    async def _resume(self) -> None:
        """Find the batches that an earlier run left open, or had no time to collect."""
        rows = await self._run.store.do(lambda store: store.execute("SELECT batch FROM collected"))
        collected = {row[0] for row in rows}
        for batch in await self._do(self._list):
            if batch.id not in collected:
                self._open[batch.id] = {row["custom_id"] for row in await self._rows(batch.input_file_id)}

    async def _drive(self) -> None:
        """Submit what has gathered, look at what is open, until closed."""
        try:
            while True:
                await self._gather()
                while self._buffer:
                    await self._submit()
                for name in list(self._open):
                    await self._look(name)
        except Exception as error:
            for future in self._waiting.values():
                if not future.done():
                    future.set_exception(error)
            raise

    async def _gather(self) -> None:
        """Wait for the next look, or less when new calls come; then until no more have come for a while."""
        limits = self._run.limits
        try:
            await asyncio.wait_for(self._grown.wait(), limits.batch_poll if self._open else None)
        except TimeoutError:
            return
        while self._grown.is_set() and len(self._buffer) < limits.batch_size:
            self._grown.clear()
            await asyncio.sleep(min(1.0, limits.batch_poll))

    async def _submit(self) -> None:
        lines = sorted(self._buffer)[: self._run.limits.batch_size]
        rows = (
            {"custom_id": line, "method": "POST", "url": _PATH, "body": self._buffer[line]} for line in lines
        )
        data = "".join(json.dumps(row) + "\n" for row in rows).encode()
        file = await self._do(lambda api: api.files.create(file=("calls.jsonl", data), purpose="batch"))

        async def create(api: Any) -> Any:
            # A creation whose reply was lost has happened all the same.
            for batch in await self._list(api):
                if batch.input_file_id == file.id:
                    return batch
            return await api.batches.create(
                input_file_id=file.id,
                endpoint=_PATH,
                completion_window="24h",
                metadata={MARK: self._scope},
            )

        self._open[(await self._do(create)).id] = set(lines)
        for line in lines:
            del self._buffer[line]

    async def _look(self, name: str) -> None:
        batch = await self._do(lambda api: api.batches.retrieve(name))
        if batch.status not in _ENDED:
            return
        responses: dict[str, dict[str, Any]] = {}
        for file in filter(None, (batch.output_file_id, batch.error_file_id)):
            # A line that the endpoint could not run carries an error and no response.
            rows = await self._rows(file)
            responses |= {row["custom_id"]: row["response"] for row in rows if row.get("response")}
        bodies = {line: json.dumps(it["body"]) for line, it in responses.items() if it["status_code"] == 200}
        # On disk first: what no one waits for yet is paid too, and is found in one place or the other.
        await self._run.store.do(lambda store: store.collect(name, bodies))
        for line in self._open.pop(name):
            future = self._waiting.pop(line, None)
            if future is None or future.done():
                continue
            try:
                if line not in responses:
                    raise _unanswered(batch, self._run.limits.batch_poll)
                response = responses[line]
                future.set_result(completion_of(int(response["status_code"]), response["body"], {}))
            except Fault as fault:
                future.set_exception(self._run.error(fault) or fault)

    async def _rows(self, file: str) -> list[Any]:
        """The rows of a file at the endpoint."""
        content = await self._do(lambda api: api.files.content(file))
        return [
            json.loads(row) for row in self._client.redacted(str(content.text)).split("\n") if row.strip()
        ]

    async def _list(self, api: Any) -> list[Any]:
        """Our batches at the endpoint."""
        pages = api.batches.list(limit=100)
        return [batch async for batch in pages if (batch.metadata or {}).get(MARK) == self._scope]

    async def _do(self, request: Callable[[Any], Awaitable[T]]) -> T:
        """What a request about files or batches brings. Raises TeacherError: the setting is at fault."""

        async def attempt() -> T:
            try:
                result = await request(self._client.api)
            except Exception as error:
                raise self._client.fault(error) from None
            self._client.reached = True
            return result

        try:
            return await repeated(attempt, self._run.limits)
        except Fault as fault:
            fault.kind = "auth" if fault.kind == "forbidden" else fault.kind
            known = None if fault.kind == "missing" else self._run.error(fault)
            raise known or TeacherError(
                f"KNOWTUNING_TEACHER_MODE is batch and {self._run.endpoint} does not take it: {fault}; "
                "what was paid is kept, run again, or without that variable"
            ) from None


def _unanswered(batch: Any, wait: float) -> Fault:
    """The fault of a line without a result: the batch expired, was cancelled or was not accepted."""
    if batch.status != "failed":
        return Fault("timeout", f"the batch ended as {batch.status} before this call")
    errors = (batch.errors.data if batch.errors else None) or []
    code = str(errors[0].code) if errors else ""
    message = f"the batch was not accepted: {errors[0].message if errors else 'no reason given'}"
    if code == "token_limit_exceeded":
        return Fault("rate_limit", message, code=code, retry_after=wait)
    return Fault("rejected", message, code=code)
