"""The fault server with a Batch API: files, batches that end after some looks, lines that expire."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from tests.support.fault_server import Answer, Call, FaultServer, Script, fails, obliging


class BatchServer(FaultServer):
    """looks: how often a batch is looked at before it ends. expires(line) leaves a line without a result.

    A batch's lines are answered by the same script as online calls. `lines` are all lines ever run.
    """

    def __init__(
        self,
        script: Script = obliging,
        *,
        looks: int = 1,
        expires: Callable[[str, int], bool] = lambda line, batch: False,
        trouble: Callable[[Call], Answer | None] = lambda call: None,
    ) -> None:
        super().__init__(script)
        self.looks, self.expires, self.trouble = looks, expires, trouble
        self.files: dict[str, bytes] = {}
        self.batches: list[dict[str, Any]] = []
        self.lines: list[str] = []

    def other(self, call: Call) -> Answer:
        result = self.trouble(call)
        if result is not None:
            return result
        path = call.path.removeprefix("/v1")
        if path == "/files":
            return self._upload(call)
        if path.startswith("/files/"):
            return Answer(self.files[path.split("/")[2]], headers={"content-type": "application/jsonl"})
        if path == "/batches":
            return self._create(call)
        if path.startswith("/batches?"):
            return Answer({"object": "list", "data": self.batches[::-1], "has_more": False})
        if path.startswith("/batches/"):
            return self._retrieve(path.split("/")[2])
        return fails(404)

    def _upload(self, call: Call) -> Answer:
        boundary = call.headers["content-type"].split("boundary=")[1].encode()
        parts = [
            part.split(b"\r\n\r\n", 1) for part in call.raw.split(b"--" + boundary) if b"\r\n\r\n" in part
        ]
        content = next(body[:-2] for head, body in parts if b'name="file"' in head)
        name = f"file-{len(self.files)}"
        self.files[name] = content
        return Answer({"id": name, "object": "file", "purpose": "batch"})

    def _create(self, call: Call) -> Answer:
        batch = {
            "id": f"batch-{len(self.batches)}",
            "object": "batch",
            "status": "in_progress",
            "input_file_id": call.body["input_file_id"],
            "endpoint": call.body["endpoint"],
            "completion_window": "24h",
            "created_at": 0,
            "metadata": call.body["metadata"],
            "looks": self.looks,
        }
        self.batches.append(batch)
        return Answer(batch)

    def _retrieve(self, name: str) -> Answer:
        number = int(name.split("-")[1])
        batch = self.batches[number]
        batch["looks"] -= 1
        if batch["looks"] < 0 and batch["status"] == "in_progress":
            self._finish(batch, number)
        return Answer(batch)

    def _finish(self, batch: dict[str, Any], number: int) -> None:
        good, bad = [], []
        batch["status"] = "completed"
        for row in map(json.loads, self.files[batch["input_file_id"]].splitlines()):
            if self.expires(row["custom_id"], number):
                batch["status"] = "expired"
                continue
            self.lines.append(row["custom_id"])
            # Results come in an order of their own.
            call = Call(len(self.lines), "POST", row["url"], {}, row["body"], 0.0)
            answer = self.script(call)
            response = {"status_code": answer.status, "request_id": "r", "body": answer.body}
            line = {"id": "r", "custom_id": row["custom_id"], "response": response, "error": None}
            (good if answer.status == 200 else bad).insert(0, json.dumps(line))
        for key, lines in (("output_file_id", good), ("error_file_id", bad)):
            if lines:
                batch[key] = f"file-{len(self.files)}"
                self.files[batch[key]] = "\n".join(lines).encode() + b"\n"
