"""Files: atomic writes, content hashes and the cache folder that outlives a stage."""

from __future__ import annotations

import hashlib
import json
import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any


@contextmanager
def atomic_write(path: Path) -> Iterator[IO[str]]:
    """Open a UTF-8 text file that appears under `path` only when the block ends without an error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("w", encoding="utf-8", newline="\n") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def open_text(path: Path, encoding: str = "utf-8", newline: str | None = None) -> Iterator[IO[str]]:
    """Open a text file for reading. Raises ValueError with the path where its bytes are not UTF-8."""
    try:
        with path.open(encoding=encoding, newline=newline) as stream:
            yield stream
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 ({error.reason}); save it as UTF-8, not packed") from error


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON with a final newline, atomically. NaN and infinity are errors."""
    with atomic_write(path) as stream:
        json.dump(value, stream, indent=2, ensure_ascii=False, allow_nan=False)
        stream.write("\n")


def read_json(path: Path) -> Any:
    """Read a JSON file. Raises ValueError with the path when it is not JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: not JSON ({error})") from error


def digest(*parts: object) -> str:
    """sha256 hex digest of the JSON form of `parts`; equal values give equal digests on any machine."""
    text = json.dumps(parts, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def digest_file(path: Path) -> str:
    """sha256 hex digest of the bytes of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def digest_folder(folder: Path, pattern: str = "*") -> str:
    """sha256 over the names and bytes of the files in `folder` that match `pattern`, in name order."""
    total = hashlib.sha256()
    for path in sorted(folder.rglob(pattern)):
        if path.is_file():
            total.update(path.relative_to(folder).as_posix().encode("utf-8") + b"\0")
            total.update(hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()


def record_rng(seed: int, purpose: str, record_id: str) -> random.Random:
    """A generator that depends on nothing but its arguments, so other records never change its draws."""
    return random.Random(digest(seed, purpose, record_id))
