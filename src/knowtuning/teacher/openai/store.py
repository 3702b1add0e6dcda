"""The store of replies: one SQLite file (WAL), shared by runs, experiments and processes.

A reply is found by the hash of everything that determines it. Before a call is made its key is claimed, so
that two processes never pay for one key. Every process holds a lock on a file of its own, which the kernel
lets go of when it dies: then its claims count for nothing.

Replies travel: a stage writes those it used beside its output, and DVC keeps that file like any other.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

from filelock import FileLock, Timeout
from pydantic import TypeAdapter

from knowtuning.core.records import parsed
from knowtuning.core.storage import atomic_write, digest

T = TypeVar("T")
Messages = Sequence[dict[str, str]]

VERSION = 3
_CHUNK = 500
# Further columns of responses are added where they lack: a store may be of an earlier version.
_SCHEMA = """
CREATE TABLE IF NOT EXISTS responses (
    key TEXT PRIMARY KEY, task TEXT NOT NULL, model TEXT NOT NULL, text TEXT NOT NULL,
    prompt_tokens INTEGER NOT NULL, completion_tokens INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS claimed (key TEXT PRIMARY KEY, owner TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS spending (command TEXT PRIMARY KEY, nanodollars INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS collected (batch TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS batch_results (call TEXT PRIMARY KEY, body TEXT NOT NULL) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class Response:
    """A reply as the teacher worded it, and the tokens that the exchange about it took."""

    key: str
    task: str
    model: str
    text: str
    prompt_tokens: int
    completion_tokens: int
    failure: str = ""  # why the reply cannot be used; it was paid, so it is kept too
    row: str = ""  # id of the row that it was bought for
    prompt: str = ""  # the user's message
    time: str = ""  # when it came, UTC
    served: str = ""  # the model that the endpoint says it used


_COLUMNS = [entry.name for entry in fields(Response)]
_NAMES = ", ".join(_COLUMNS)
_ROW = TypeAdapter(Response)


def request_key(
    *,
    endpoint: str,
    model: str,
    messages: Messages,
    sampling: dict[str, Any],
    schema: dict[str, Any],
    sample: int,
) -> str:
    """sha256 of everything that determines a reply, and of nothing else (no row, no order, no code)."""
    return digest("chat", endpoint, model, list(messages), sampling, schema, sample)


def line_of(key: str, messages: Messages, max_tokens: int) -> str:
    """The name of a call in a batch, 64 characters: the start of its reply's key, then what sets it apart."""
    return f"{key[:32]}-{digest('line', list(messages), max_tokens)[:31]}"


class Store:
    """Replies, claims, and what the batches and the budget need to survive a kill, in one file.

    Methods that write run inside transaction() or by do(), neither for several threads at once.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.owner = secrets.token_hex(8)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(self._lock_of(self.owner), thread_local=False)
        self._lock.acquire()
        try:
            self._db = _connect(path)
        except sqlite3.OperationalError as error:
            # Nothing is wrong with what it holds.
            wrong = f"{path}: the reply store cannot be opened ({error})"
            raise OSError(f"{wrong}; free disk space, or make the file and its folder writable") from error
        except sqlite3.DatabaseError as error:
            wrong = f"{path}: not a usable reply store ({error})"
            raise ValueError(f"{wrong}; move it away to start an empty one") from error
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="teacher-store")
        self._gathered: list[Callable[[Store], Any]] = []
        self._commit: asyncio.Task[list[Any]] | None = None

    def close(self) -> None:
        """Close the file; claims that are left count for nothing."""
        self._db.close()
        self._lock.release()
        self._lock_of(self.owner).unlink(missing_ok=True)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """A durable transaction: at its end everything is on disk, on an error nothing is."""
        with self._db:
            self._db.execute("BEGIN IMMEDIATE")
            yield

    async def do(self, operation: Callable[[Store], T]) -> T:
        """Run `operation` and return its result once it is on disk.

        A commit waits milliseconds for the disk: what many calls want meanwhile shares the next one.
        """
        if not self._gathered:
            self._commit = asyncio.create_task(self._commit_behind(self._commit))
        number, commit = len(self._gathered), self._commit
        self._gathered.append(operation)
        assert commit is not None
        result: T = (await asyncio.shield(commit))[number]
        return result

    async def settle(self) -> None:
        """Wait for what was asked for; the next run may have another event loop."""
        if self._commit is not None:
            await asyncio.wait({self._commit})
            self._commit = None

    async def _commit_behind(self, earlier: asyncio.Task[list[Any]] | None) -> list[Any]:
        """Do what gathers until the earlier transaction is on disk."""
        if earlier is not None:
            await asyncio.wait({earlier})
        operations, self._gathered = self._gathered, []

        def together() -> list[Any]:
            try:
                with self.transaction():
                    return [operation(self) for operation in operations]
            except sqlite3.Error as error:
                raise OSError(f"{self.path}: the reply store cannot be used: {error}") from error

        return await asyncio.get_running_loop().run_in_executor(self._thread, together)

    def execute(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        return self._db.execute(statement, values).fetchall()

    def find(self, keys: Sequence[str]) -> dict[str, Response]:
        """The replies that are there, by key; at most 10,000 keys at a time."""
        marks = ",".join("?" * len(keys))
        rows = self._db.execute(f"SELECT {_NAMES} FROM responses WHERE key IN ({marks})", keys)
        return {row[0]: Response(*row) for row in rows}

    def all(self) -> Iterator[Response]:
        """Every reply, the oldest first."""
        rows = self._db.execute(f"SELECT {_NAMES} FROM responses ORDER BY time, key")
        return (Response(*row) for row in rows)

    def claim(self, key: str) -> Response | bool:
        """The reply if it is there; else True where the key is the caller's now, False where another's."""
        if response := self.find([key]).get(key):
            return response
        for (owner,) in self.execute("SELECT owner FROM claimed WHERE key = ?", key):
            if self._is_alive(owner):
                return False
        self.execute("INSERT OR REPLACE INTO claimed VALUES (?, ?)", key, self.owner)
        return True

    def _is_alive(self, owner: str) -> bool:
        try:
            with FileLock(self._lock_of(owner), blocking=False):
                self._lock_of(owner).unlink()
        except Timeout:
            return True
        return False

    def _lock_of(self, owner: str) -> Path:
        return self.path.with_name(f"{self.path.name}.{owner}.lock")

    def put(self, response: Response) -> None:
        """Keep a reply where no accepted one is, and settle the lines of batches that it came from."""
        self.execute("DELETE FROM responses WHERE key = ? AND failure != ''", response.key)
        marks = ",".join("?" * len(_COLUMNS))
        insert = f"INSERT INTO responses ({_NAMES}) VALUES ({marks}) ON CONFLICT (key) DO NOTHING"
        self.execute(insert, *(getattr(response, name) for name in _COLUMNS))
        start = response.key[:32]
        self.execute("DELETE FROM batch_results WHERE call BETWEEN ? AND ?", f"{start}-", f"{start}.")

    def forget(self, key: str) -> None:
        """Drop a reply that today's checks no longer accept, so that it is asked for anew."""
        self.execute("DELETE FROM responses WHERE key = ?", key)

    def release(self, key: str) -> None:
        """Give up our claim on a key."""
        self.execute("DELETE FROM claimed WHERE key = ? AND owner = ?", key, self.owner)

    def release_all(self) -> None:
        """Give up all our claims."""
        self.execute("DELETE FROM claimed WHERE owner = ?", self.owner)

    def collect(self, batch: str, bodies: Mapping[str, str]) -> None:
        """Keep the results of a batch, by line."""
        self._db.executemany("INSERT OR REPLACE INTO batch_results VALUES (?, ?)", bodies.items())
        self.execute("INSERT OR REPLACE INTO collected VALUES (?)", batch)

    def batch_result(self, line: str) -> str | None:
        """The result of a line of a batch, where it is not settled yet."""
        rows = self.execute("SELECT body FROM batch_results WHERE call = ?", line)
        return str(rows[0][0]) if rows else None

    def spent(self, command: str) -> int:
        """What a command has spent or set aside, billionths of a US dollar."""
        rows = self.execute("SELECT nanodollars FROM spending WHERE command = ?", command)
        return int(rows[0][0]) if rows else 0

    def spend(self, command: str, nanodollars: int, limit: float) -> bool:
        """Add to what a command has spent; False, and nothing is added, where that would exceed the limit."""
        total = self.spent(command) + nanodollars
        if total <= limit:
            self.execute("INSERT OR REPLACE INTO spending VALUES (?, ?)", command, total)
        return total <= limit


def export_replies(store: Store, keys: Iterable[str], path: Path) -> None:
    """Write the replies to `keys` as JSONL sorted by key, atomically. Raises ValueError when a key has no
    reply: the file would not replay the stage."""
    ordered = sorted(set(keys))
    with atomic_write(path) as stream:
        for start in range(0, len(ordered), _CHUNK):
            chunk = ordered[start : start + _CHUNK]
            responses = store.find(chunk)
            for key in chunk:
                if key not in responses:
                    raise ValueError(f"{store.path}: no reply to the call {key}; run the stage again")
                row = {name: value for name, value in asdict(responses[key]).items() if value != ""}
                stream.write(json.dumps({"text": "", **row}, ensure_ascii=False) + "\n")


def import_replies(store: Store, lines: Iterable[str], name: object) -> None:
    """Put the replies of an exported file into the store. Raises ValueError naming file and line when a line
    is not a reply; nothing is imported then."""
    with store.transaction():
        for number, line in enumerate(lines, 1):
            store.put(read_response(line, f"{name}:{number}"))


def read_response(line: str, where: str) -> Response:
    """The reply that a line of an exported file is. Raises ValueError naming `where`."""
    return parsed(line, _ROW.validate_json, where, "expected a reply")


def previous_output(out: Path) -> list[str]:
    """The lines of the output that the last run made; none where there was none.

    DVC deletes a stage's outputs before it runs the stage, but gives out the version that it keeps.
    """
    if out.is_file():
        text = out.read_text(encoding="utf-8")
    elif not Path("dvc.lock").is_file():
        return []
    else:
        import dvc.api
        from dvc.exceptions import DvcException

        try:
            text = dvc.api.read(out.as_posix(), encoding="utf-8")
        except DvcException:
            return []
    # Not splitlines(): a reply may hold other separators.
    return text.removesuffix("\n").split("\n") if text else []


def _connect(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, timeout=60.0, isolation_level=None, check_same_thread=False)
    for attempt in range(100):
        # Two processes that open a new file at once get in each other's way for a moment.
        try:
            db.execute("PRAGMA journal_mode = WAL")
            break
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or attempt == 99:
                raise
            time.sleep(0.05)
    # FULL: a commit has reached the disk, so not even a power cut takes back a reply that was used.
    db.execute("PRAGMA synchronous = FULL")
    version = db.execute("PRAGMA user_version").fetchone()[0]
    if version > VERSION:
        raise ValueError(
            f"{path}: reply store of version {version}; this program reads up to {VERSION}; update it, or "
            "move the store away to start an empty one"
        )
    tables = {row[0] for row in db.execute("SELECT name FROM sqlite_master")}
    if "batches" in tables and db.execute("SELECT 1 FROM batches").fetchone():
        raise ValueError(
            f"{path}: holds open batches of an earlier version; collect them with that one, or move the "
            "store away"
        )
    with db:
        db.execute("BEGIN IMMEDIATE")
        for statement in _SCHEMA.split(";"):
            db.execute(statement)
        present = {row[1] for row in db.execute("PRAGMA table_info(responses)")}
        for name in _COLUMNS:
            if name not in present:
                db.execute(f"ALTER TABLE responses ADD COLUMN {name} TEXT NOT NULL DEFAULT ''")
        db.execute(f"PRAGMA user_version = {VERSION}")
    return db


def command() -> str:
    """What this process belongs to: a command of the shell with all that it starts, such as `dvc repro`."""
    # Its process group, with the start of the group's leader (22nd field of its status): numbers come again.
    group, started = os.getpgrp(), ""
    with suppress(OSError, IndexError):
        started = Path(f"/proc/{group}/stat").read_text().rpartition(")")[2].split()[19]
    return f"{group} {started}"
