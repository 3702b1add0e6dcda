"""A program that a test starts and kills; its arguments: URL CACHE OUT COUNT CONCURRENCY DIE_AT MODE.

It puts COUNT tasks to a teacher, writes the outcomes to OUT and prints calls paid, cached and failed. With
DIE_AT > 0 it kills itself at that reply, in the middle of the transaction that writes it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from knowtuning.core.records import Record, write_jsonl
from knowtuning.teacher.openai.store import Response, Store
from tests.support.checkout import CODE
from tests.support.fault_server import FaultServer
from tests.support.openai_setup import KEY, mixed, quick, teacher_at


class Row(Record):
    outcome: str


class Dying(Store):
    """A store whose process is killed when its row is written and not yet committed."""

    puts = 0
    die_at = 0

    def put(self, response: Response) -> None:
        super().put(response)
        Dying.puts += 1
        if Dying.puts == Dying.die_at:
            os.kill(os.getpid(), signal.SIGKILL)


def start(
    server: FaultServer,
    folder: Path,
    count: int,
    *,
    out: str = "out.jsonl",
    concurrency: int = 8,
    die_at: int = 0,
    mode: str = "online",
) -> subprocess.Popen[str]:
    """Start the program on a cache in `folder`; its environment holds the code and the key alone."""
    arguments = [server.url, folder / "cache", folder / out, count, concurrency, die_at, mode]
    return subprocess.Popen(
        [sys.executable, "-m", "tests.support.openai_program", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**CODE, "OPENAI_API_KEY": KEY},
    )


if __name__ == "__main__":
    # A shell that starts the tests in the background has them, and so this program, ignore interrupts.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    url, cache, out, count, concurrency, die_at, mode = sys.argv[1:]
    limits = quick(concurrency=int(concurrency), mode=mode, batch_poll=0.05)
    teacher = teacher_at(url, Path(cache), limits=limits)
    if int(die_at):
        Dying.die_at = int(die_at)
        teacher._store.__class__ = Dying
    pairs = teacher.run(mixed(int(count)))
    write_jsonl(Path(out), (Row(id=task.id, outcome=outcome.model_dump_json()) for task, outcome in pairs))
    print(teacher.totals.paid, teacher.totals.cached, teacher.totals.failed)
