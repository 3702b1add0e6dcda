"""State that lets a killed stage go on where it was.

It lies under `<cache>/resume/<stage>-<key>/`, where the key is a digest of all that determines the result, so
that state is taken up on an exact match alone. It goes away when the stage has succeeded.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from importlib import metadata
from pathlib import Path
from typing import IO, Any

from filelock import FileLock, Timeout

from knowtuning.core.storage import digest, digest_file, digest_folder, read_json, write_json
from knowtuning.model.hardware import ALONE, Processes

# State that nobody took up for this long (seconds) is of inputs that changed, or of a run that was given up.
# Queued experiments wait for days, not weeks.
KEEP = 14 * 24 * 3600
LIBRARIES = ("accelerate", "datasets", "numpy", "peft", "tokenizers", "torch", "transformers", "trl")
MANIFEST = "manifest.json"


def software() -> dict[str, str]:
    """What computes: Python, the libraries that touch numbers, and a digest of this package's own sources."""
    versions = {name: metadata.version(name) for name in LIBRARIES}
    code = digest_folder(Path(__file__).parents[1], "*.py")
    return {"python": platform.python_version(), "knowtuning": code, **versions}


def content(path: Path) -> str:
    """A digest of the bytes of a file, or of the names and bytes in a folder; "absent" if there is none."""
    if path.is_dir():
        return digest_folder(path)
    return digest_file(path) if path.exists() else "absent"


@contextmanager
def resumable(
    cache: Path, stage: str, *, settings: Any, inputs: Sequence[Path], processes: Processes = ALONE
) -> Iterator[Path]:
    """The folder for the state of one run of `stage`, which may hold that of a killed one; for a with block.

    settings: JSON values that determine the result beside the bytes of `inputs` and the software. When the
    block ends well the folder is removed; after an error it stays. A second run of the same key waits for
    the first. Old state of the same stage is removed (see KEEP). Processes of one run share the folder.
    """
    home = cache / "resume"
    home.mkdir(parents=True, exist_ok=True)
    key = digest(stage, settings, [content(path) for path in inputs], software())[:16]
    folder = home / f"{stage}-{key}"
    with _locked(folder) if processes.first else nullcontext():
        if processes.first:
            prune(home, stage, keep=folder)
            folder.mkdir(exist_ok=True)
        processes.wait()
        yield folder
        processes.wait()
        if processes.first:
            shutil.rmtree(folder)


@contextmanager
def _locked(folder: Path, *, wait: bool = True) -> Iterator[None]:
    """Hold `<folder>.lock`, which the kernel frees when its process dies; its file goes with the block.

    Raises Timeout where another run holds it and `wait` is off.
    """
    path = folder.with_name(f"{folder.name}.lock")
    lock = FileLock(path)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        if not wait:
            raise
        sys.stderr.write(f"{folder.name}: another run with the same inputs is at work; waiting for its end\n")
        lock.acquire(poll_interval=0.2)
    try:
        yield
        path.unlink(missing_ok=True)
    finally:
        lock.release()


def prune(home: Path, stage: str, *, keep: Path) -> None:
    """Remove state of other keys of `stage` that is older than KEEP and that no run holds."""
    for folder in home.glob(f"{stage}-" + "[0-9a-f]" * 16):
        if folder == keep or time.time() - _touched(folder) < KEEP:
            continue
        with suppress(Timeout), _locked(folder, wait=False):
            shutil.rmtree(folder, ignore_errors=True)


def _touched(folder: Path) -> float:
    """When anything in `folder` was last written (seconds since 1970)."""
    times = []
    for path in (folder, *folder.rglob("*")):
        with suppress(FileNotFoundError):  # another process removes it
            times.append(path.stat().st_mtime)
    return max(times, default=time.time())


def seal(folder: Path) -> None:
    """Write a manifest with the hashes of all files in `folder`; whatever lacks one is torn."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != MANIFEST]
    for path in files:
        with path.open("rb") as stream:
            os.fsync(stream.fileno())
    write_json(folder / MANIFEST, {path.relative_to(folder).as_posix(): content(path) for path in files})


def sealed(folder: Path) -> bool:
    """Whether `folder` is whole: all files of its manifest are there with the hashes they had."""
    try:
        listed = read_json(folder / MANIFEST)
    except (FileNotFoundError, ValueError):
        return False
    return isinstance(listed, dict) and all(content(folder / name) == value for name, value in listed.items())


class Journal:
    """Finished work, one JSON line a batch, written to `<folder>/journal-<rank>.jsonl` as they come.

    `done` holds them all, those of an earlier run too, whatever number of processes that had. A line that is
    torn or damaged ends its file: it and all after it are left out. Lines reach the kernel at once, so that a
    killed process loses nothing, and the disk once a second. Without a folder nothing is written.
    """

    def __init__(self, folder: Path | None = None, processes: Processes = ALONE) -> None:
        self.done: dict[str, Any] = {}
        self._processes = processes
        self._stream: IO[bytes] | None = None
        self._synced = time.monotonic()
        if folder is not None:
            written = folder / f"journal-{processes.rank}.jsonl"
            for path in folder.glob("journal-*.jsonl"):
                sound = self._read(path)
                if path == written:
                    os.truncate(path, sound)
            processes.wait()  # all know the same before anyone adds to it
            self._stream = written.open("ab")

    def todo(self, keys: Sequence[str]) -> list[str]:
        """Those of `keys` that this process has to do, and nobody has done."""
        return self._processes.share([key for key in keys if key not in self.done])

    def put(self, key: str, value: Any) -> None:
        """Note that `key` is finished with `value` (JSON)."""
        self.done[key] = value
        if self._stream is None:
            return
        self._stream.write(json.dumps([key, value, digest(key, value)[:8]]).encode() + b"\n")
        self._stream.flush()
        if time.monotonic() - self._synced > 1:
            os.fsync(self._stream.fileno())
            self._synced = time.monotonic()

    def complete(self, work: Mapping[str, Any], compute: Callable[[Any], Any], title: str) -> dict[str, Any]:
        """`compute` of each value of `work`, by its key, but for what an earlier run or others have."""
        from tqdm import tqdm

        todo, hidden = self.todo(list(work)), None if self._processes.first else True
        done = len(work) - len(todo)
        for key in tqdm(todo, title, len(work), initial=done, mininterval=1, disable=hidden):
            self.put(key, compute(work[key]))
        return self.exchange()

    def exchange(self) -> dict[str, Any]:
        """What all processes have done, each of them with its share."""
        self.done = self._processes.union(self.done)
        return self.done

    def _read(self, path: Path) -> int:
        """Add the entries of a file to `done`; returns the length of its sound part (bytes)."""
        sound = 0
        for line in path.read_bytes().splitlines(keepends=True):
            try:
                key, value, check = json.loads(line)
            except (ValueError, TypeError):
                break
            if not line.endswith(b"\n") or check != digest(key, value)[:8]:
                break
            self.done[key] = value
            sound += len(line)
        return sound


def checkpoints(folder: Path) -> list[Path]:
    """The whole checkpoints `checkpoint-<step>` in `folder`, oldest first; torn ones are removed."""
    whole = []
    for path in folder.glob("checkpoint-*"):
        if path.name.removeprefix("checkpoint-").isdecimal() and sealed(path):
            whole.append(path)
        else:
            shutil.rmtree(path)
    return sorted(whole, key=lambda path: int(path.name.removeprefix("checkpoint-")))


class Due:
    """Says when to save again: after `seconds`, at a cost of at most 5 % of the time; always with 0."""

    def __init__(self, seconds: float) -> None:
        self.seconds = self._pause = float(seconds)
        self._last = time.monotonic()

    def __call__(self) -> bool:
        """Whether it is time to save."""
        return time.monotonic() - self._last >= self._pause

    @contextmanager
    def saving(self) -> Iterator[None]:
        """Wrap this around the saving."""
        start = time.monotonic()
        yield
        self._last = time.monotonic()
        self._pause = max(self.seconds, 20 * (self._last - start)) if self.seconds else 0.0
