"""Delivery by the Batch API: calls are gathered, submitted as one file, polled for and collected.

To the rest of the teacher a batch is a slow endpoint: the same calls, keys and checks, so the same
replies. What a call still lacks (a correction, a longer limit, an expired line) goes into the next batch.

Nothing paid is lost to a kill: a batch is noted before it is created and found again by its mark, its
lines are known by the hash of their content, and results are on disk before they are used.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypeVar

from knowtuning.core.storage import digest
from knowtuning.teacher.openai.client import Client, Model, body_of, completion_of
from knowtuning.teacher.openai.dialogue import Completion, Request
from knowtuning.teacher.openai.errors import RETRIED, Fault, TeacherError, fault_of_status
from knowtuning.teacher.openai.journal import Journal
from knowtuning.teacher.openai.limits import Limits
from knowtuning.teacher.openai.negotiation import Negotiator, raise_setting, refused_key
from knowtuning.teacher.openai.pacing import pause
from knowtuning.teacher.openai.store import Store

MARK = "knowtuning"
_PATH = "/v1/chat/completions"
_ENDED = ("completed", "failed", "expired", "cancelled")

T = TypeVar("T")
_Line = tuple[int, Any]  # HTTP status and body of a line's result


class Batches:
    """Makes calls in batches. `complete` is what Negotiator.complete is online."""

    def __init__(self, model: Model, negotiator: Negotiator, journal: Journal, limits: Limits) -> None:
        self._model = model
        self._negotiator = negotiator
        self._journal = journal
        self._limits = limits
        self._waiting: dict[str, asyncio.Future[Completion]] = {}
        self._buffer: dict[str, dict[str, Any]] = {}
        self._open: dict[str, set[str]] = {}
        self._introduced = asyncio.Lock()
        self._driver: asyncio.Task[None] | None = None
        self._grown = asyncio.Event()
        self._taken: dict[asyncio.Task, list[str]] = {}

    async def complete(self, request: Request, name: str, schema: dict[str, Any]) -> Completion:
        """Make one call by batch; the first of each task goes online, to learn the dialect."""
        async with self._introduced:
            dialect = await self._negotiator.recall(name)
            if dialect is None:
                return await self._negotiator.complete(request, name, schema)
            if self._driver is None:
                await self._resume()
                self._driver = asyncio.create_task(self._drive())
        body = body_of(self._model, request, dialect, name, schema)
        line = digest("line", self._model.endpoint, body)
        task = asyncio.current_task()
        assert task is not None
        self._taken.setdefault(task, []).append(line)
        found = await self._journal.do(lambda store: _find_result(store, line))
        if found is not None:
            return completion_of(found)
        return await self._wait_for(line, body)

    def settled(self) -> Callable[[Store], None]:
        """What to do in the transaction that settles the current asyncio task's call: drop its results."""
        task = asyncio.current_task()
        assert task is not None
        lines = self._taken.pop(task, [])
        return lambda store: _drop_results(store, lines)

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
        """Find the batches that an earlier run left open, also one that it had no time to note."""
        scope = self._scope()
        rows = await self._journal.do(
            lambda store: store.execute("SELECT id, state FROM batches WHERE scope = ?", (scope,))
        )
        marked = {str(row[0]) for row in rows if row[1] == "marked"}
        found = await self._patiently(lambda: self._list(marked)) if marked else {}
        for name, mark in found.items():
            await self._journal.do(_noter(mark, name))
        await self._journal.do(_forgetter(scope))
        for (name,) in await self._journal.do(
            lambda store: store.execute("SELECT id FROM batches WHERE scope = ?", (scope,))
        ):
            rows = await self._journal.do(_lister(name))
            self._open[name] = {str(row[0]) for row in rows}

    async def _list(self, marks: set[str]) -> dict[str, str]:
        """The endpoint's batches with these marks, newest first: its name for each, and the mark."""
        found = {}
        async for batch in self._client.api.batches.list(limit=100):
            mark = (batch.metadata or {}).get(MARK)
            if mark in marks:
                found[str(batch.id)] = str(mark)
            if len(found) == len(marks):
                break
        return found

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
        pause_until_look = self._limits.batch_poll if self._open else None
        try:
            await asyncio.wait_for(self._grown.wait(), pause_until_look)
        except TimeoutError:
            return
        while self._grown.is_set() and len(self._buffer) < self._limits.batch_size:
            self._grown.clear()
            await asyncio.sleep(min(1.0, self._limits.batch_poll))

    async def _submit(self) -> None:
        lines = sorted(self._buffer)[: self._limits.batch_size]
        mark, scope = secrets.token_hex(16), self._scope()
        await self._journal.do(lambda store: _mark(store, mark, scope, lines))
        rows = [
            {"custom_id": line, "method": "POST", "url": _PATH, "body": self._buffer[line]} for line in lines
        ]
        data = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode("utf-8")
        name = await self._create(data, mark)
        await self._journal.do(_noter(mark, name))
        self._open[name] = set(lines)
        for line in lines:
            del self._buffer[line]

    async def _create(self, data: bytes, mark: str) -> str:
        api, tried = self._client.api, False
        file = await self._patiently(lambda: api.files.create(file=("calls.jsonl", data), purpose="batch"))

        async def create() -> str:
            nonlocal tried
            # A creation whose reply was lost has happened all the same.
            if tried and (found := await self._list({mark})):
                return next(iter(found))
            tried = True
            batch = await api.batches.create(
                input_file_id=file.id, endpoint=_PATH, completion_window="24h", metadata={MARK: mark}
            )
            return str(batch.id)

        return await self._patiently(create)

    async def _look(self, name: str) -> None:
        batch = await self._patiently(lambda: self._client.api.batches.retrieve(name))
        if batch.status not in _ENDED:
            return
        results: dict[str, _Line] = {}
        for file in (batch.output_file_id, batch.error_file_id):
            if file:
                results.update(_read_lines(await self._download(str(file))))
        lines = self._open.pop(name)
        # On disk first: what no one waits for yet is paid too.
        await self._journal.do(lambda store: _keep_results(store, name, lines, results))
        for line in lines:
            await self._settle(line, results.get(line), batch)

    async def _download(self, file: str) -> str:
        content = await self._patiently(lambda: self._client.api.files.content(file))
        return self._client.redacted(str(content.text))

    async def _settle(self, line: str, result: _Line | None, batch: Any) -> None:
        future = self._waiting.pop(line, None)
        if future is None or future.done():
            return
        try:
            if result is None:
                raise _unanswered(batch, self._limits.batch_poll)
            future.set_result(_completion(result))
        except Fault as fault:
            try:
                raise_setting(fault, self._model)
                future.set_exception(fault)
            except TeacherError as error:
                future.set_exception(error)

    async def _patiently(self, action: Callable[[], Awaitable[T]]) -> T:
        """Do something at the endpoint, again after passing faults. Raises TeacherError."""
        attempt = 0
        while True:
            try:
                return await action()
            except Exception as error:
                fault = self._client.fault(error)
            attempt += 1
            if fault.kind in ("missing", "rejected") or attempt > self._limits.retries:
                raise TeacherError(
                    f"KNOWTUNING_TEACHER_MODE is batch and {self._model.endpoint} does not take it: "
                    f"{fault.message}; what was paid is kept, run again, or without that variable"
                ) from None
            if fault.kind == "forbidden":
                raise refused_key(fault, self._model) from None
            if fault.kind not in RETRIED and fault.kind != "rate_limit":
                raise_setting(fault, self._model)
            wait = pause(attempt, self._limits.backoff, self._limits.backoff_cap)
            await asyncio.sleep(max(wait, fault.retry_after or 0.0))

    @property
    def _client(self) -> Client:
        return self._negotiator.client

    def _scope(self) -> str:
        return digest(self._model.endpoint, self._model.name)


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


def _completion(result: _Line) -> Completion:
    status, body = result
    if status != 200:
        raise fault_of_status(status, body, {}, now=0.0)
    return completion_of(body)


def _read_lines(text: str) -> dict[str, _Line]:
    """Results by line. A line that the endpoint could not run carries an error and no response."""
    results: dict[str, _Line] = {}
    for row in text.splitlines():
        if not row.strip():
            continue
        found = json.loads(row)
        answer = found.get("response")
        if answer is not None:
            results[str(found["custom_id"])] = (int(answer["status_code"]), answer["body"])
    return results


def _mark(store: Store, mark: str, scope: str, lines: Iterable[str]) -> None:
    store.execute("INSERT INTO batches VALUES (?, ?, ?, 'marked')", (mark, scope, store.owner))
    for line in lines:
        store.execute("INSERT INTO batch_calls VALUES (?, ?)", (mark, line))


def _noter(mark: str, name: str) -> Callable[[Store], None]:
    """Note that the batch with `mark` exists under the endpoint's `name` for it."""

    def note(store: Store) -> None:
        store.execute("UPDATE batches SET id = ?, state = 'open' WHERE id = ?", (name, mark))
        store.execute("UPDATE batch_calls SET batch = ? WHERE batch = ?", (name, mark))

    return note


def _forgetter(scope: str) -> Callable[[Store], None]:
    """Forget batches of dead processes that were never created."""

    def forget(store: Store) -> None:
        rows = store.execute("SELECT id, owner FROM batches WHERE scope = ? AND state = 'marked'", (scope,))
        for mark, owner in rows:
            if not store.is_held(owner, 0.0):
                _drop(store, mark)

    return forget


def _lister(name: str) -> Callable[[Store], list[tuple[Any, ...]]]:
    return lambda store: store.execute("SELECT call FROM batch_calls WHERE batch = ?", (name,))


def _drop(store: Store, name: str) -> None:
    store.execute("DELETE FROM batches WHERE id = ?", (name,))
    store.execute("DELETE FROM batch_calls WHERE batch = ?", (name,))


def _keep_results(store: Store, name: str, lines: set[str], results: dict[str, _Line]) -> None:
    for line in lines & results.keys():
        status, body = results[line]
        if status == 200:
            store.execute("INSERT OR REPLACE INTO batch_results VALUES (?, ?)", (line, json.dumps(body)))
    _drop(store, name)


def _find_result(store: Store, line: str) -> Any:
    rows = store.execute("SELECT body FROM batch_results WHERE call = ?", (line,))
    return json.loads(rows[0][0]) if rows else None


def _drop_results(store: Store, lines: Iterable[str]) -> None:
    for line in lines:
        store.execute("DELETE FROM batch_results WHERE call = ?", (line,))
