"""The store of replies: one SQLite file (WAL), shared by runs, experiments and processes.

A reply is found by the hash of everything that determines it. Before a call is made its key is claimed,
so that two processes never pay for one key; the claim of a process that has died counts for nothing.
"""

from __future__ import annotations

import os
import secrets
import socket
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from knowtuning.core.storage import digest

VERSION = 2
LEASE = 120.0  # seconds a claim made on another machine stays good without being renewed

_SCHEMA = """
CREATE TABLE IF NOT EXISTS responses (
    key TEXT PRIMARY KEY, task TEXT NOT NULL, model TEXT NOT NULL, text TEXT NOT NULL,
    prompt_tokens INTEGER NOT NULL, completion_tokens INTEGER NOT NULL,
    failure TEXT NOT NULL DEFAULT '') WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS claims (
    key TEXT PRIMARY KEY, owner TEXT NOT NULL, expires REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS dialects (key TEXT PRIMARY KEY, dialect TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS batches (
    id TEXT PRIMARY KEY, scope TEXT NOT NULL, owner TEXT NOT NULL, state TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS batch_calls (
    batch TEXT NOT NULL, call TEXT NOT NULL, PRIMARY KEY (batch, call)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS batch_results (call TEXT PRIMARY KEY, body TEXT NOT NULL) WITHOUT ROWID;
"""
_COLUMNS = "key, task, model, text, prompt_tokens, completion_tokens, failure"


@dataclass(frozen=True, slots=True)
class Response:
    """A reply as the teacher worded it, and the tokens that the exchange about it took.

    failure: why the reply cannot be used; empty for an accepted one. It was paid, so it is kept too.
    """

    key: str
    task: str
    model: str
    text: str
    prompt_tokens: int
    completion_tokens: int
    failure: str = ""


def request_key(
    *,
    endpoint: str,
    model: str,
    messages: Sequence[dict[str, str]],
    sampling: dict[str, Any],
    schema: dict[str, Any],
    sample: int = 0,
) -> str:
    """sha256 of everything that determines a reply, and of nothing else (no row, no order, no code)."""
    return digest("chat", endpoint, model, list(messages), sampling, schema, sample)


class Store:
    """Replies, claims and what was learnt about endpoints, in one file.

    Not for several threads at once: see journal.Journal. Methods that write run inside transaction().
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.owner = _identity()
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._db = _connect(path)
        except sqlite3.DatabaseError as error:
            raise ValueError(
                f"{path}: not a usable reply store ({error}); move it away to start an empty one"
            ) from error

    def close(self) -> None:
        """Release this store's claims and close the file."""
        with self.transaction():
            self.release_all()
        self._db.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """A durable transaction: at its end everything is on disk, on an error nothing is."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    def find(self, keys: Sequence[str]) -> dict[str, Response]:
        """The replies that are there, by key; at most 10,000 keys at a time."""
        marks = ",".join("?" * len(keys))
        rows = self._db.execute(f"SELECT {_COLUMNS} FROM responses WHERE key IN ({marks})", keys)
        return {row[0]: Response(*row) for row in rows}

    def claim(self, key: str) -> Response | bool:
        """The reply if it is there, else True when the key is ours to call, False when another's."""
        found = self.find([key])
        if found:
            return found[key]
        row = self._db.execute("SELECT owner, expires FROM claims WHERE key = ?", (key,)).fetchone()
        if row is not None and row[0] != self.owner and self.is_held(row[0], row[1]):
            return False
        self._db.execute(
            "INSERT OR REPLACE INTO claims VALUES (?, ?, ?)", (key, self.owner, time.time() + LEASE)
        )
        return True

    def put(self, response: Response) -> None:
        """Keep a reply and give up the claim on its key. The first accepted reply to a key stays."""
        self._db.execute("DELETE FROM responses WHERE key = ? AND failure != ''", (response.key,))
        self._db.execute(
            "INSERT INTO responses VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (key) DO NOTHING",
            (
                response.key,
                response.task,
                response.model,
                response.text,
                response.prompt_tokens,
                response.completion_tokens,
                response.failure,
            ),
        )
        self.release(response.key)

    def forget(self, key: str) -> None:
        """Drop a reply that today's checks no longer accept, so that it is asked for anew."""
        self._db.execute("DELETE FROM responses WHERE key = ?", (key,))

    @staticmethod
    def is_held(owner: str, expires: float) -> bool:
        """Whether what `owner` holds counts: it lives, or is elsewhere and has not let its lease expire."""
        alive = _is_alive(owner)
        return expires > time.time() if alive is None else alive

    def release(self, key: str) -> None:
        """Give up our claim on a key."""
        self._db.execute("DELETE FROM claims WHERE key = ? AND owner = ?", (key, self.owner))

    def release_all(self) -> None:
        """Give up all our claims."""
        self._db.execute("DELETE FROM claims WHERE owner = ?", (self.owner,))

    def renew(self) -> None:
        """Lengthen all our claims by a lease."""
        self._db.execute("UPDATE claims SET expires = ? WHERE owner = ?", (time.time() + LEASE, self.owner))

    def use(self, keys: Iterable[str]) -> None:
        """Note that this run used the replies that there are to these keys (outside memory, for used())."""
        note = "INSERT OR IGNORE INTO temp.used SELECT key FROM responses WHERE key = ?"
        self._db.executemany(note, ((key,) for key in keys))

    def used(self) -> Iterator[str]:
        """The keys noted by use(), sorted."""
        for row in self._db.execute("SELECT key FROM temp.used ORDER BY key"):
            yield row[0]

    def count(self) -> int:
        """The number of replies in the store."""
        return int(self._db.execute("SELECT count(*) FROM responses").fetchone()[0])

    def dialect(self, key: str) -> str | None:
        """What was learnt about an endpoint, see negotiation.py."""
        row = self._db.execute("SELECT dialect FROM dialects WHERE key = ?", (key,)).fetchone()
        return None if row is None else str(row[0])

    def learn_dialect(self, key: str, dialect: str) -> None:
        """Keep what was learnt about an endpoint."""
        self._db.execute("INSERT OR REPLACE INTO dialects VALUES (?, ?)", (key, dialect))

    def execute(self, statement: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run a statement on the batch tables (batch.py keeps its own bookkeeping there)."""
        return self._db.execute(statement, values).fetchall()


def _connect(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, timeout=60.0, isolation_level=None, check_same_thread=False)
    _switch_to_wal(db)
    # FULL: a commit has reached the disk, so not even a power cut takes back a reply that was used.
    db.execute("PRAGMA synchronous = FULL")
    db.execute("PRAGMA temp_store = FILE")
    found = db.execute("PRAGMA user_version").fetchone()[0]
    if found not in (0, 1, VERSION):
        raise ValueError(f"{path}: reply store of version {found}; this program reads version {VERSION}")
    if found == 1:
        _add_failures(db)
    db.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} PRAGMA user_version = {VERSION}; COMMIT;")
    db.execute("CREATE TEMP TABLE used (key TEXT PRIMARY KEY) WITHOUT ROWID")
    return db


def _add_failures(db: sqlite3.Connection) -> None:
    """From version 1 to 2, which keeps unusable replies too. Another process may have been first."""
    db.execute("BEGIN IMMEDIATE")
    if db.execute("PRAGMA user_version").fetchone()[0] == 1:
        db.execute("ALTER TABLE responses ADD COLUMN failure TEXT NOT NULL DEFAULT ''")
        db.execute(f"PRAGMA user_version = {VERSION}")
    db.execute("COMMIT")


def _switch_to_wal(db: sqlite3.Connection) -> None:
    """Switch to WAL; two processes that open a new file at once get in each other's way for a moment."""
    for attempt in range(100):
        try:
            db.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or attempt == 99:
                raise
            time.sleep(0.05)


def _identity() -> str:
    """host|pid|start of the process|nonce: enough for another process to tell whether we live."""
    return f"{_host()}|{os.getpid()}|{_started(os.getpid())}|{secrets.token_hex(4)}"


def _host() -> str:
    # Process ids mean something only within one boot and one pid namespace.
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{socket.gethostname()}/{boot}/{os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return socket.gethostname()


def _started(pid: int) -> str:
    """When a process started, in the kernel's ticks; empty where the system does not tell."""
    try:
        # The second field is the name in brackets, which may hold spaces; the 22nd is the start.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


def _is_alive(owner: str) -> bool | None:
    """Whether a process lives; None when it is not on this machine and cannot be asked."""
    host, pid, started, _ = owner.split("|")
    if host != _host():
        return None
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    # Another start time: the process id has been given to someone else meanwhile.
    return _started(int(pid)) == started
