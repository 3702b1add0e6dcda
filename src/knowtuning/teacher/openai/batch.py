"""Delivery by the Batch API: calls are gathered, submitted as one file, polled for and collected.

To the rest of the teacher a batch is a slow endpoint: the same calls, keys and checks, so the same
replies. What a call still lacks (a correction, a longer limit, an expired line) goes into the next batch.

Nothing paid is lost to a kill: the endpoint's list says which batches are ours (by a mark) and what they
hold, a line is known by the hash of its content, and results are on disk before they are used.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from knowtuning.core.storage import digest
from knowtuning.teacher.openai.calls import pause
from knowtuning.teacher.openai.client import (
    RETRIED,
    Client,
    ClientRun,
    Completion,
    Fault,
    Request,
    body_of,
    completion_of,
    fault_of_status,
    setting_error,
)
from knowtuning.teacher.openai.limits import TeacherError
from knowtuning.teacher.tasks import Task

MARK, DIALECTS = "knowtuning", "dialects"
_PATH = "/v1/chat/completions"
_ENDED = ("completed", "failed", "expired", "cancelled")
_Line = tuple[int, Any]  # HTTP status and body of a line's result


class Batches:
    """Makes calls in batches. `complete` is what Client.complete is online."""

    def __init__(self, run: ClientRun, client: Client) -> None:
        self._model, self._limits, self._journal, self._client = run.model, run.limits, run.journal, client
        self._scope = digest(run.model.endpoint, run.model.name)
        self._waiting: dict[str, asyncio.Future[Completion]] = {}
        self._buffer: dict[str, dict[str, Any]] = {}
        self._open: dict[str, set[str]] = {}
        self._introduced = asyncio.Lock()
        self._driver: asyncio.Task[None] | None = None
        self._grown = asyncio.Event()

    async def complete(self, request: Request, task: Task) -> Completion:
        """Make one call by batch; the first of each task goes online, to learn the dialect."""
        async with self._introduced:
            if self._driver is None:
                await self._client.open()
                await self._resume()
                self._driver = asyncio.create_task(self._drive())
            dialect = self._client.dialect(task)
            if dialect is None:
                return await self._client.complete(request, task)
        body = body_of(self._model, request, dialect, task)
        line = digest("line", self._model.endpoint, body)
        result = await self._journal.do(lambda store: store.batch_result(line))
        if result is None:
            return await self._wait_for(line, body)
        return replace(completion_of(json.loads(result), {}), line=line)

    async def close(self) -> None:
        """Stop polling; open batches go on at the endpoint and are found again by the next run."""
        if self._driver is not None:
            self._driver.cancel()
            await asyncio.gather(self._driver, return_exceptions=True)

    async def _wait_for(self, line: str, body: dict[str, Any]) -> Completion:
        assert self._driver is not None
        if self._driver.done():
            await self._driver
        future: asyncio.Future[Completion] = asyncio.get_running_loop().create_future()
        self._waiting[line] = future
        if not any(line in lines for lines in self._open.values()):
            self._buffer[line] = body
            self._grown.set()
        return await future

    async def _resume(self) -> None:
        """Find the batches that an earlier run left open, or had no time to collect."""
        rows = await self._journal.do(lambda store: store.execute("SELECT batch FROM collected"))
        collected = {row[0] for row in rows}
        for batch in reversed(await self._list()):
            if batch.id not in collected:
                text = await self._download(batch.input_file_id)
                self._open[batch.id] = {json.loads(row)["custom_id"] for row in text.split("\n") if row}
                self._client.learn(batch.metadata[DIALECTS])

    async def _list(self) -> list[Any]:
        """Our batches at the endpoint, newest first."""
        with self._named():
            pages = self._api.batches.list(limit=100)
            return [batch async for batch in pages if (batch.metadata or {}).get(MARK) == self._scope]

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
        try:
            await asyncio.wait_for(self._grown.wait(), self._limits.batch_poll if self._open else None)
        except TimeoutError:
            return
        while self._grown.is_set() and len(self._buffer) < self._limits.batch_size:
            self._grown.clear()
            await asyncio.sleep(min(1.0, self._limits.batch_poll))

    async def _submit(self) -> None:
        lines = sorted(self._buffer)[: self._limits.batch_size]
        data = "".join(
            json.dumps({"custom_id": line, "method": "POST", "url": _PATH, "body": self._buffer[line]}) + "\n"
            for line in lines
        )
        with self._named():
            file = await self._api.files.create(file=("calls.jsonl", data.encode()), purpose="batch")
        self._open[await self._create(file.id)] = set(lines)
        for line in lines:
            del self._buffer[line]

    async def _create(self, file: str) -> str:
        """Create the batch of a file; a creation whose reply was lost has happened all the same."""
        metadata = {MARK: self._scope, DIALECTS: self._client.dialects()}
        for attempt in itertools.count(1):
            try:
                batch = await self._client.api.batches.create(
                    input_file_id=file, endpoint=_PATH, completion_window="24h", metadata=metadata
                )
                break
            except Exception as error:
                fault = self._client.fault(error)
                if fault.kind not in (*RETRIED, "rate_limit") or attempt > self._limits.retries:
                    with self._named():
                        raise
            wait = pause(attempt, self._limits.backoff, self._limits.backoff_cap)
            await asyncio.sleep(max(wait, fault.retry_after or 0.0))
            if batch := next((each for each in await self._list() if each.input_file_id == file), None):
                break
        return str(batch.id)

    async def _look(self, name: str) -> None:
        with self._named():
            batch = await self._api.batches.retrieve(name)
        if batch.status not in _ENDED:
            return
        results: dict[str, _Line] = {}
        for file in filter(None, (batch.output_file_id, batch.error_file_id)):
            for row in map(json.loads, filter(str.strip, (await self._download(file)).split("\n"))):
                # A line that the endpoint could not run carries an error and no response.
                if response := row.get("response"):
                    results[row["custom_id"]] = int(response["status_code"]), response["body"]
        bodies = {line: json.dumps(body) for line, (status, body) in results.items() if status == 200}
        # On disk first: what no one waits for yet is paid too, and is found in one place or the other.
        await self._journal.do(lambda store: store.collect(name, bodies))
        for line in self._open.pop(name):
            self._settle(line, results.get(line), batch)

    async def _download(self, file: str) -> str:
        with self._named():
            content = await self._api.files.content(file)
        return self._client.redacted(str(content.text))

    def _settle(self, line: str, result: _Line | None, batch: Any) -> None:
        future = self._waiting.pop(line, None)
        if future is None or future.done():
            return
        try:
            if result is None:
                raise _unanswered(batch, self._limits.batch_poll)
            status, body = result
            if status != 200:
                raise fault_of_status(status, body, {})
            future.set_result(replace(completion_of(body, {}), line=line))
        except Fault as fault:
            future.set_exception(setting_error(fault, self._model) or fault)

    @property
    def _api(self) -> Any:
        return self._client.api.with_options(max_retries=self._limits.retries)

    @contextmanager
    def _named(self) -> Iterator[None]:
        """What goes wrong here, behind the package's own retries, is an error of the setting."""
        try:
            yield
        except Exception as error:
            fault = self._client.fault(error)
            fault.kind = "auth" if fault.kind == "forbidden" else fault.kind
            known = None if fault.kind == "missing" else setting_error(fault, self._model)
            raise known or TeacherError(
                f"KNOWTUNING_TEACHER_MODE is batch and {self._model.endpoint} does not take it: "
                f"{fault.message}; what was paid is kept, run again, or without that variable"
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
