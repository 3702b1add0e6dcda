"""The asynchronous face of the store: what many calls want at one moment goes into one transaction.

A commit that waits for the disk costs milliseconds; shared by all calls that finish meanwhile it costs
each of them little, and still no reply is used before it is on disk.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from knowtuning.teacher.openai.store import Store

T = TypeVar("T")
_Wish = tuple[Callable[[Store], Any], "asyncio.Future[Any]"]


class Journal:
    """Runs operations on the store in a thread of its own, grouped into transactions."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="teacher-store")
        self._waiting: list[_Wish] = []
        self._flushing: asyncio.Task[None] | None = None

    async def do(self, operation: Callable[[Store], T]) -> T:
        """Run `operation` and return its result once its transaction is on disk."""
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting.append((operation, future))
        if self._flushing is None:
            self._flushing = asyncio.create_task(self._flush())
        return await future

    async def close(self) -> None:
        """Wait for what was asked for, then end the thread."""
        while self._flushing is not None:
            await asyncio.wait({self._flushing})
        self._thread.shutdown()

    async def _flush(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._waiting:
                wishes, self._waiting = self._waiting, []
                await self._settle(loop.run_in_executor(self._thread, self._commit, wishes), wishes)
        finally:
            self._flushing = None

    async def _settle(self, commit: asyncio.Future[list[Any]], wishes: list[_Wish]) -> None:
        try:
            results = await commit
        except Exception as error:
            for _, future in wishes:
                if not future.done():
                    future.set_exception(error)
            return
        for (_, future), result in zip(wishes, results, strict=True):
            if not future.done():
                future.set_result(result)

    def _commit(self, wishes: list[_Wish]) -> list[Any]:
        try:
            with self._store.transaction():
                return [operation(self._store) for operation, _ in wishes]
        except sqlite3.Error as error:
            raise OSError(f"{self._store.path}: the reply store cannot be used: {error}") from error
