"""`python -m benchmarks.teacher`: the teacher client beside the bare `openai` client, on one stub.

The stub answers every call after a fixed latency, in a process of its own. Each client runs in a fresh
process and puts the same prompts. Columns: calls a second, share of the ideal rate
(concurrency / latency), CPU of the client per call, its largest resident set. `cached` is the same run
once more from the store. distilabel runs where it is installed. `--cached 100000` times a run over a
store that holds so many replies, and makes no call.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from experiments.catalogue import ROOT
from knowtuning.config.teacher import TeacherParams
from knowtuning.teacher.openai import OpenAITeacher
from knowtuning.teacher.openai.limits import Limits
from knowtuning.teacher.openai.prompts import Prompts
from knowtuning.teacher.openai.store import Response
from knowtuning.teacher.tasks import Failure, Rephrase
from knowtuning.teacher.teachers import Setting

PROMPTS = ROOT / "prompts"
# This program, for processes of its own; started in the root, as it is.
PROGRAM = [sys.executable, "-m", "benchmarks.teacher"]
KEY = "none"


class Stub(asyncio.Protocol):
    """HTTP/1.1 with nothing in it but what a chat completion needs: the stub must not be the bottleneck."""

    latency = 0.0
    reply = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport, self.data = transport, b""

    def data_received(self, data: bytes) -> None:
        self.data += data
        head, separator, rest = self.data.partition(b"\r\n\r\n")
        length = int((head.lower().partition(b"content-length: ")[2] or b"0").split(b"\r\n")[0])
        if separator and len(rest) >= length:
            self.data = b""
            asyncio.get_running_loop().call_later(self.latency, self.transport.write, self.reply)


async def serve(latency: float) -> None:
    """Serve until the standard input ends; prints the port first."""
    message = {"role": "assistant", "content": '{"text": "The same in other words."}'}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    usage = {"prompt_tokens": 250, "completion_tokens": 12, "total_tokens": 262}
    known = {"id": "c", "object": "chat.completion", "created": 0, "model": "stub"}
    body = json.dumps({**known, "choices": [choice], "usage": usage}).encode()
    head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    Stub.latency, Stub.reply = latency, head.encode() + body
    server = await asyncio.get_running_loop().create_server(Stub, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.to_thread(sys.stdin.read)


def tasks(count: int) -> Iterator[Rephrase]:
    """A stream of tasks."""
    for number in range(count):
        text = f"The town number {number} lies on a river. It was founded long ago. It exports salt."
        yield Rephrase(id=f"{number:07d}", question=f"Tell me about the town number {number}.", text=text)


def _teacher(url: str, cache: Path, concurrency: int) -> OpenAITeacher:
    params = TeacherParams(
        backend="openai",
        model="stub",
        base_url=url,
        temperature=0.0,
        top_p=None,
        extra={},
        max_tokens=256,
        seed=None,
    )
    limits = Limits(concurrency=concurrency, progress=False)
    return OpenAITeacher(params, Setting({"OPENAI_API_KEY": KEY}, cache, prompts=PROMPTS), limits)


def run_ours(url: str, count: int, concurrency: int, cache: Path) -> int:
    """The teacher client; returns how many replies were acceptable."""
    teacher = _teacher(url, cache, concurrency)
    return sum(not isinstance(outcome, Failure) for _, outcome in teacher.run(tasks(count)))


def run_bare(url: str, count: int, concurrency: int, cache: Path) -> int:
    """The `openai` client with workers that share a stream, as many as calls may be in flight."""
    import httpx2
    import openai

    async def main() -> int:
        pool = httpx2.Limits(max_connections=None, max_keepalive_connections=concurrency)
        http = openai.DefaultAsyncHttpxClient(limits=pool)
        client = openai.AsyncOpenAI(base_url=url, api_key=KEY, max_retries=0, http_client=http)
        prompts, stream, done = Prompts(PROMPTS), tasks(count), 0
        settings = {"max_tokens": 256, "temperature": 0.0, "response_format": {"type": "json_object"}}

        async def work() -> None:
            nonlocal done
            for task in stream:
                wish: dict[str, Any] = {"model": "stub", "messages": prompts.messages(task), **settings}
                reply = await client.chat.completions.create(**wish)
                done += "text" in json.loads(reply.choices[0].message.content or "{}")

        await asyncio.gather(*(work() for _ in range(concurrency)))
        return done

    return asyncio.run(main())


def run_distilabel(url: str, count: int, concurrency: int, cache: Path) -> int:
    """distilabel's OpenAI client, which gathers one batch of calls after the other."""
    from distilabel.models.llms import OpenAILLM

    llm = OpenAILLM(model="stub", base_url=url, api_key=KEY, generation_kwargs={"max_new_tokens": 256})
    llm.load()
    prompts, done, stream = Prompts(PROMPTS), 0, tasks(count)
    while batch := [prompts.messages(task) for task in itertools.islice(stream, concurrency)]:
        done += sum(bool(reply["generations"][0]) for reply in llm.generate_outputs(inputs=batch))
    return done


CLIENTS: dict[str, Callable[[str, int, int, Path], int]] = {
    "bare openai client": run_bare,
    "this teacher": run_ours,
    "this teacher, cached": run_ours,
    "distilabel": run_distilabel,
}


def run_cached(count: int) -> None:
    """Print how long a run takes whose replies are all in the store."""
    with tempfile.TemporaryDirectory() as folder:
        teacher = _teacher("http://127.0.0.1:9/v1", Path(folder), concurrency=16)
        with teacher._store.transaction():
            for task in tasks(count):
                reply = json.dumps({"text": task.text})
                teacher._store.put(Response(teacher._call(task).key, task.name, "stub", reply, 250, 12))
        wall, cpu = time.perf_counter(), time.process_time()
        done = sum(not isinstance(outcome, Failure) for _, outcome in teacher.run(tasks(count)))
        assert done == count
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        print(f"{count} cached calls in {wall:.1f} s, {cpu:.1f} s of CPU")


def measure(name: str, url: str, count: int, concurrency: int, cache: Path) -> None:
    """Run one client here and print its figures as JSON."""
    wall, cpu = time.perf_counter(), time.process_time()
    done = CLIENTS[name](url, count, concurrency, cache)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"done": done, "wall": wall, "cpu": cpu, "peak": peak}))


def compare(calls: int, concurrency: int, latency: float) -> None:
    """Print the table."""
    stub = subprocess.Popen(
        [*PROGRAM, "--stub", "--latency", str(latency)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert stub.stdout is not None
    url = f"http://127.0.0.1:{stub.stdout.readline().strip()}/v1"
    ideal = concurrency / latency
    print(f"{calls} calls, {concurrency} in flight, {latency:g} s each: ideal {ideal:.0f} calls/s")
    print(f"{'client':<24}{'calls/s':>9}{'ideal':>8}{'CPU/call':>11}{'memory':>9}")
    with tempfile.TemporaryDirectory() as cache:
        for name in CLIENTS:
            command = [*PROGRAM, "--client", name, "--url", url, "--cache", cache]
            command += ["--calls", str(calls), "--concurrency", str(concurrency)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            print(_row(name, calls, ideal, done), flush=True)
    stub.communicate("")


def _row(name: str, calls: int, ideal: float, done: subprocess.CompletedProcess[str]) -> str:
    if done.returncode:
        return f"{name:<24} not run: {(done.stderr.strip().splitlines() or ['no reason given'])[-1]}"
    figures = json.loads(done.stdout.splitlines()[-1])
    assert figures["done"] == calls, f"{name}: {figures['done']} of {calls} calls answered"
    rate = calls / figures["wall"]
    share = f"{rate / ideal:>8.0%}" if "cached" not in name else f"{'':>8}"
    return f"{name:<24}{rate:>9.0f}{share}{1000 * figures['cpu'] / calls:>8.2f} ms{figures['peak']:>6.0f} MB"


def main() -> None:
    """Parse and run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--calls", type=int, default=20_000)
    parser.add_argument("--concurrency", type=int, default=200)
    parser.add_argument("--latency", type=float, default=0.05, help="seconds")
    parser.add_argument("--cached", type=int, help="replies in the store")
    parser.add_argument("--stub", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--client", help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    parser.add_argument("--cache", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.cached:
        run_cached(arguments.cached)
    elif arguments.stub:
        asyncio.run(serve(arguments.latency))
    elif arguments.client:
        measure(arguments.client, arguments.url, arguments.calls, arguments.concurrency, arguments.cache)
    else:
        compare(arguments.calls, arguments.concurrency, arguments.latency)


if __name__ == "__main__":
    main()
