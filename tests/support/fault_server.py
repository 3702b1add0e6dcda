"""An OpenAI-compatible server on loopback that plays faults by script.

`with FaultServer(script) as server:` runs it in a thread; `script(call)` returns what to answer.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from knowtuning.teacher.openai.prompts import Mode

Drop = Literal["none", "before", "body"]


@dataclass
class Call:
    """A request as it came in. number: 1 for the first chat completion."""

    number: int
    method: str
    path: str
    headers: dict[str, str]
    body: Any
    at: float
    raw: bytes = b""

    @property
    def messages(self) -> list[dict[str, str]]:
        return self.body["messages"]

    @property
    def mode(self) -> Mode:
        """The way in which a structured reply is asked for; one without bounds may be bare."""
        wanted = self.body.get("response_format", {"type": "prompted"})
        if wanted["type"] == "json_schema" and not re.search('"m(in|ax)(Items|Length)"', json.dumps(wanted)):
            return "json_schema_bare"
        return "json_object_schema" if "schema" in wanted else wanted["type"]


@dataclass
class Answer:
    """What to send. drop: hang up before anything, or in the middle of the body."""

    body: Any
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0.0
    drop: Drop = "none"


Script = Callable[[Call], Answer]


def says(text: str | None, *, finish: str = "stop", refusal: str | None = None, **more: Any) -> Answer:
    """A chat completion: 10 prompt and 5 reply tokens."""
    message = {"role": "assistant", "content": text, "refusal": refusal}
    body = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 0,
        "model": "stub",
        "choices": [{"index": 0, "message": message, "finish_reason": finish}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15},
    }
    return Answer(body, **more)


def fails(status: int, message: str = "no", code: str | None = None, **more: Any) -> Answer:
    """An error in OpenAI's form."""
    return Answer({"error": {"message": message, "type": code, "code": code}}, status=status, **more)


# Faults that may pass: asked again, the call may be answered. True: it may have been billed all the same.
PASSING: dict[str, tuple[Answer, bool]] = {
    "500": (fails(500, "oops"), False),
    "502": (fails(502, "bad gateway"), False),
    "503": (fails(503, "overloaded", headers={"retry-after": "0.01"}), False),
    "dropped": (Answer({}, drop="before"), True),
    "half a body": (Answer({"choices": [1] * 100}, drop="body"), True),
    "html": (Answer(b"<html>busy</html>", headers={"content-type": "text/html"}), True),
    "no choice": (Answer({"object": "chat.completion", "choices": []}), True),
    "no text": (Answer({"choices": [{"message": {"content": 7}}]}), True),
    "timeout": (says("late", delay=1.0), True),
}


def row_of(call: Call) -> int | None:
    """The number of the row of `openai_setup` that a call asks for; None for a minimal call."""
    found = re.search(r"What of (\d+)\?", " ".join(str(turn["content"]) for turn in call.messages))
    return int(found[1]) if found else None


def right_reply(call: Call) -> str:
    """A well-formed reply to any task that depends on the messages alone, shaped as the prompt's example is.

    Its lists have an entry for each numbered one of the user's, or two; verdicts are those of the example.
    """
    system, user = call.messages[0]["content"], call.messages[1]["content"]
    example, _ = json.JSONDecoder().raw_decode(system[re.search(r'^\{"', system, re.MULTILINE).start() :])
    mark = hashlib.sha256(user.encode()).hexdigest()[:12]
    count = len(re.findall(r"^\d+\. ", user, re.MULTILINE)) or 2
    return json.dumps({key: _alike(key, value, mark, count) for key, value in example.items()})


def _alike(key: str, example: Any, mark: str, count: int) -> Any:
    if isinstance(example, list):
        return [
            _alike(key.rstrip("s"), example[0], f"{mark} {number}", number + 1) for number in range(count)
        ]
    if isinstance(example, dict):
        return {name: _alike(name, value, mark, count) for name, value in example.items()}
    if isinstance(example, str):
        return f"{key} {mark}" if " " in example else example
    return count if key == "number" else example


def obliging(call: Call) -> Answer:
    """The script without a fault."""
    return says(right_reply(call))


class FaultServer:
    """The server in a thread of its own. `calls` are the chat completions that came in."""

    def __init__(self, script: Script = obliging) -> None:
        self.script = script
        self.calls: list[Call] = []
        self.others: list[Call] = []
        self.answered = 0
        self.open = self.peak = 0
        self._number = 0
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def __enter__(self) -> FaultServer:
        self._thread.start()
        self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._connection, "127.0.0.1", 0))
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        self._loop.run_forever()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while call := await self._read(reader):
                if not await self._answer(call, writer):
                    break
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    async def _read(self, reader: asyncio.StreamReader) -> Call | None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        except asyncio.IncompleteReadError:
            return None
        first, *lines = head.strip().split("\r\n")
        method, path, _ = first.split(" ")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        raw = await reader.readexactly(int(headers.get("content-length", 0)))
        is_json = headers.get("content-type", "").startswith("application/json")
        body = json.loads(raw) if raw and is_json else None
        call = Call(0, method, path, headers, body, self._loop.time(), raw)
        if path.endswith("/chat/completions"):
            self._number += 1
            call.number = self._number
            self.calls.append(call)
        else:
            self.others.append(call)
        return call

    async def _answer(self, call: Call, writer: asyncio.StreamWriter) -> bool:
        answer = self._other(call) if call.number == 0 else self.script(call)
        self.open += 1
        self.peak = max(self.peak, self.open)
        try:
            if answer.delay:
                await asyncio.sleep(answer.delay)
        finally:
            self.open -= 1
        if answer.drop == "before":
            return False
        body = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
        lines = [f"HTTP/1.1 {answer.status} X", f"content-length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in answer.headers.items()]
        if "content-type" not in answer.headers:
            lines.append("content-type: application/json")
        head = ("\r\n".join(lines) + "\r\n\r\n").encode()
        writer.write(head + (body[: len(body) // 2] if answer.drop == "body" else body))
        await writer.drain()
        self.answered += call.number > 0 and answer.status == 200
        return answer.drop == "none"

    def _other(self, call: Call) -> Answer:
        if call.path.endswith("/models"):
            return Answer({"object": "list", "data": [{"id": "stub", "object": "model"}]})
        return self.other(call)

    def other(self, call: Call) -> Answer:
        """What to answer to anything but a chat completion or the model list."""
        return fails(404, f"no such path: {call.path}")
