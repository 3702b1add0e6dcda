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
from knowtuning.teacher.openai.client import Call, Client, Completion, Fault, Run, completion_of
from knowtuning.teacher.openai.limits import TeacherError
from knowtuning.teacher.openai.store import line_of

T = TypeVar("T")
Results = dict[str, Completion | Fault]  # by line

MARK = "knowtuning"
_PATH = "/v1/chat/completions"
_ENDED = ("completed", "failed", "expired", "cancelled")


class Batches:
    """Makes calls in batches. `complete` and `close` are what they are of Client online."""

    def __init__(self, run: Run) -> None:
        self._run, self._client = run, Client(run)
        self._scope = digest(run.endpoint, run.params.model)
        self._works: dict[str, asyncio.Task[Results]] = {}  # what brings the result of a line
        self._gathered: dict[str, dict[str, Any]] = {}  # bodies of the next batch, by line
        self._next: asyncio.Task[Results] | None = None  # what submits it
        self._introduced = asyncio.Lock()
        self._resumed = False

    async def complete(self, call: Call) -> Completion:
        """Make one call by batch; the first of each task goes online, to learn the dialect."""
        async with self._introduced:
            if not self._resumed:
                self._client.open()
                await self._resume()
                self._resumed = True
        line = line_of(call.key, call.messages, call.max_tokens)
        if line not in self._works:
            kept = await self._run.store.do(lambda store: store.batch_result(line))
            if kept is not None:
                return completion_of(200, json.loads(kept), {})
            async with self._introduced:
                dialect = self._client.dialect(call.task)
                if dialect is None:
                    return await self._client.complete(call)
            if self._next is None or len(self._gathered) == self._run.limits.batch_size:
                self._gathered = {}
                self._next = asyncio.create_task(self._submit(self._gathered))
            self._gathered[line] = self._run.body(call, dialect)
            self._works[line] = self._next
        result = (await asyncio.shield(self._works[line]))[line]
        if isinstance(result, Fault):
            raise self._run.error(result) or result
        return result

    async def close(self) -> None:
        """Stop polling; open batches go on at the endpoint and are found again by the next run."""
        works = set(self._works.values())
        for work in works:
            work.cancel()
        await asyncio.gather(*works, return_exceptions=True)
        await self._client.close()

    async def _resume(self) -> None:
        """Find the batches that an earlier run left open, or had no time to collect."""
        rows = await self._run.store.do(lambda store: store.execute("SELECT batch FROM collected"))
        collected = {row[0] for row in rows}
        for batch in await self._do(self._list):
            if batch.id not in collected:
                lines = {row["custom_id"] for row in await self._rows(batch.input_file_id)}
                self._works |= dict.fromkeys(lines, asyncio.create_task(self._collect(batch.id, lines)))

    async def _submit(self, bodies: dict[str, dict[str, Any]]) -> Results:
        """Wait until no more lines have come for a while, submit them, and collect what they bring."""
        limits, size = self._run.limits, 0
        while size < len(bodies) < limits.batch_size:
            size = len(bodies)
            await asyncio.sleep(min(1.0, limits.batch_poll))
        if self._gathered is bodies:
            self._next = None
        rows = (
            {"custom_id": line, "method": "POST", "url": _PATH, "body": body}
            for line, body in sorted(bodies.items())
        )
        data = "".join(json.dumps(row) + "\n" for row in rows).encode()
        file = await self._do(lambda api: api.files.create(file=("calls.jsonl", data), purpose="batch"))

        async def create(api: Any) -> Any:
            # A creation whose reply was lost has happened all the same.
            for batch in await self._list(api):
                if batch.input_file_id == file.id:
                    return batch
            settings = {"completion_window": "24h", "metadata": {MARK: self._scope}}
            return await api.batches.create(input_file_id=file.id, endpoint=_PATH, **settings)

        batch = await self._do(create)
        return await self._collect(batch.id, set(bodies))

    async def _collect(self, name: str, lines: set[str]) -> Results:
        """Wait for the end of a batch; gives its results, which are on disk."""
        poll = self._run.limits.batch_poll
        while (batch := await self._do(lambda api: api.batches.retrieve(name))).status not in _ENDED:
            await asyncio.sleep(poll)
        results: Results = dict.fromkeys(lines, _unanswered(batch, poll))
        bodies: dict[str, str] = {}
        for file in filter(None, (batch.output_file_id, batch.error_file_id)):
            for row in await self._rows(file):
                # A line that the endpoint could not run carries an error and no response.
                if response := row.get("response"):
                    line, status = row["custom_id"], int(response["status_code"])
                    if status == 200:
                        bodies[line] = json.dumps(response["body"])
                    try:
                        results[line] = completion_of(status, response["body"], {})
                    except Fault as fault:
                        results[line] = fault
        # On disk first: what no one waits for yet is paid too, and is found in one place or the other.
        await self._run.store.do(lambda store: store.collect(name, bodies))
        for line in lines:
            self._works.pop(line, None)
        return results

    async def _rows(self, file: str) -> list[Any]:
        """The rows of a file at the endpoint."""
        content = await self._do(lambda api: api.files.content(file))
        rows = self._client.redacted(str(content.text)).split("\n")
        return [json.loads(row) for row in rows if row.strip()]

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
