"""DVC's experiment queue: what is in it, and waiting for its workers."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterable

from experiments.catalogue import ROOT

# Between two looks at the queue, at least; a look costs a second of CPU and more.
PAUSE_SECONDS = 10.0
ENDED = ("Failed", "Success")


def status() -> dict[str, str]:
    """Name -> Queued, Running, Success or Failed, of every named entry (the latest one of a name)."""
    words = ["dvc", "queue", "status"]
    lines = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    found: dict[str, str] = {}
    for line in lines:
        parts = line.split()
        # "Task  Name  Created  Status": the creation time has a space in it or none.
        if len(parts) >= 4 and parts[-1] in (*ENDED, "Queued", "Running"):
            found.setdefault(parts[1], parts[-1])
    return found


def clear_ended(names: Iterable[str]) -> set[str]:
    """Forget the ended entries among `names`; returns those that are queued or running."""
    entries = status()
    ended = [name for name in names if entries.get(name) in ENDED]
    if ended:
        subprocess.run(["dvc", "queue", "remove", *ended], cwd=ROOT, check=True, capture_output=True)
    return {name for name, state in entries.items() if state not in ENDED}


def work(names: list[str], jobs: int) -> list[str]:
    """Start `jobs` workers and wait until none of `names` is queued or running; returns the failed ones."""
    if not names:
        return []
    subprocess.run(["dvc", "queue", "start", "--jobs", str(jobs)], cwd=ROOT, check=True)
    shown: dict[str, str] = {}
    while True:
        start = time.monotonic()
        entries = status()
        looked = time.monotonic() - start
        now = {name: entries.get(name, "Success") for name in names}
        for name, state in now.items():
            if shown.get(name) != state:
                print(f"{name}: {state.lower()}", flush=True)
        shown = now
        if all(state in ENDED for state in now.values()):
            return [name for name, state in now.items() if state == "Failed"]
        # A look takes the longer the more is in the queue.
        time.sleep(max(PAUSE_SECONDS, 20 * looked))
