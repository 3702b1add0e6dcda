"""The `openai` teacher: tasks in, outcomes out, in order, each call paid at most once."""

from __future__ import annotations

import asyncio
import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from knowtuning.config.teacher import Endpoint
from knowtuning.teacher.openai.batch import Batches
from knowtuning.teacher.openai.client import OFFICIAL, Client, Model
from knowtuning.teacher.openai.journal import Journal
from knowtuning.teacher.openai.limits import Limits
from knowtuning.teacher.openai.negotiation import Negotiator
from knowtuning.teacher.openai.online import Call, Delivery, Online
from knowtuning.teacher.openai.prices import Budget, price_of
from knowtuning.teacher.openai.prompts import Prompts
from knowtuning.teacher.openai.replies import export_replies, import_replies, previous_output
from knowtuning.teacher.openai.session import Session
from knowtuning.teacher.openai.store import Store, request_key
from knowtuning.teacher.openai.structured import reply_limit, task_schema
from knowtuning.teacher.openai.usage import Estimate, Progress, Usage
from knowtuning.teacher.tasks import Outcome, Task

STORE_NAME = "teacher.sqlite"
_CHUNK = 500


class OpenAITeacher:
    """Answers tasks through an OpenAI-compatible endpoint and a durable store of replies.

    cache: the folder of the store. api_key: may be None where no call has to be made, and for endpoints
    that need none. section: where params.yaml has `params`, key: the variable that holds the key, both for
    messages. headers: sent with every call, and as secret as the key. most_failed: rows that may stay
    without a usable reply before the run stops. `totals` counts over all runs of
    this teacher.
    """

    def __init__(
        self,
        params: Endpoint,
        *,
        prompts: Path,
        cache: Path,
        api_key: str | None,
        limits: Limits,
        section: str = "teacher",
        key: str = "OPENAI_API_KEY",
        headers: Mapping[str, str] | None = None,
        most_failed: float = math.inf,
    ) -> None:
        self.estimate: Estimate | None = None
        self._params = params
        self._limits = limits if limits.mode == "online" else _for_batches(limits)
        self._api_key = api_key
        self._most_failed = most_failed
        self._prompts = Prompts(prompts)
        self._model = _model(params, section, key)
        self._headers = headers
        official = self._model.endpoint == OFFICIAL
        self._price = price_of(params.model, limits.prices, official=official, batch=limits.mode == "batch")
        self._budget = Budget(limits.budget, self._price)
        self.totals = Usage(price=self._price)
        self._store = Store(cache / STORE_NAME)

    def run(self, tasks: Iterable[Task]) -> Iterator[tuple[Task, Outcome]]:
        """Yield each task with its outcome, in order, reading `tasks` as a stream.

        A sequence is looked through first, for an estimate. Calls go on while the caller asks for
        outcomes; close the generator to end them. Raises TeacherError when the run cannot go on.
        """
        self.estimate = self.estimate_of(tasks) if isinstance(tasks, Sequence) else None
        total = self.estimate.tasks if self.estimate else None
        progress = Progress(self.totals, total=total, shown=self._limits.progress)
        if self.estimate is not None:
            progress.say(str(self.estimate))
        try:
            with asyncio.Runner() as runner:
                yield from self._batches(runner, tasks, progress)
        finally:
            progress.close()

    def estimate_of(self, tasks: Iterable[Task]) -> Estimate:
        """What a run over `tasks` will take, without making a call."""
        count = cached = size = longest = 0
        stream = (self._call(task) for task in tasks)
        seen: set[str] = set()
        while chunk := list(itertools.islice(stream, _CHUNK)):
            found = self._store.find([call.key for call in chunk])
            count += len(chunk)
            for call in chunk:
                kept = call.key in found and not (self._limits.ask_again and found[call.key].failure)
                if kept or call.key in seen:
                    cached += 1
                    continue
                seen.add(call.key)
                longest += reply_limit(call.task, self._params.max_tokens)
                size += sum(len(message["content"].encode("utf-8")) for message in call.messages)
        calls = count - cached
        return Estimate(count, cached, calls, size // 4, longest, self._price)

    @property
    def has_bar(self) -> bool:
        """True: with calls, tokens and money."""
        return True

    def usage(self) -> dict[str, Any]:
        """Totals of calls, tokens and money.

        `paid` is this run's part and `cached` what earlier runs paid for; `total` is both, and the same
        whether the stage was resumed or not.
        """
        return {"teacher": self.totals.metrics()}

    def load_replies(self, out: Path, root: Path) -> int:
        """Put the replies that DVC keeps of `out` into the store; returns how many were new."""
        kept = previous_output(root, out)
        return 0 if kept is None else import_replies(self._store, kept)

    def save_replies(self, out: Path) -> int:
        """Export the replies that this teacher's runs used; returns their number."""
        return export_replies(self._store, self._store.used(), out)

    def close(self) -> None:
        """Close the store."""
        self._store.close()

    def _batches(
        self, runner: asyncio.Runner, tasks: Iterable[Task], progress: Progress
    ) -> Iterator[tuple[Task, Outcome]]:
        journal = Journal(self._store)
        negotiator = Negotiator(self._model, self._open_client, journal)
        batches = None
        if self._limits.mode == "batch":
            batches = runner.run(_batches(self._model, negotiator, journal, self._limits))
        session = runner.run(self._session(tasks, batches or negotiator, journal, progress))
        try:
            while batch := runner.run(session.next_batch()):
                yield from batch
                progress.advance(len(batch))
        finally:
            runner.run(_close(session, batches, negotiator, journal))

    async def _session(
        self, tasks: Iterable[Task], delivery: Delivery, journal: Journal, progress: Progress
    ) -> Session:
        online = Online(
            delivery,
            journal,
            self._limits,
            self._budget,
            self.totals,
            progress,
            model=self._params.model,
            who=f"{self._model.section}.model {self._model.name!r} at {self._model.endpoint}",
            max_tokens=self._params.max_tokens,
            most_failed=self._most_failed,
        )
        calls = (self._call(task) for task in tasks)
        return Session(calls, online, journal, self._limits, self.totals)

    def _open_client(self) -> Client:
        return Client(self._model, api_key=self._api_key, limits=self._limits, headers=self._headers)

    def _call(self, task: Task) -> Call:
        messages = self._prompts.messages(task)
        key = request_key(
            endpoint=self._model.endpoint,
            model=self._model.name,
            messages=messages,
            sampling={**self._model.sampling, "max_tokens": self._params.max_tokens},
            schema=task_schema(task),
            sample=getattr(task, "sample", 0),
        )
        return Call(key, task, messages)


def _model(params: Endpoint, section: str, key: str) -> Model:
    # The address is always given, so that no variable of the package can redirect calls and their keys.
    named = {"temperature": params.temperature, "top_p": params.top_p, "seed": params.seed}
    sampling = {name: value for name, value in named.items() if value is not None} | params.extra
    return Model((params.base_url or OFFICIAL).rstrip("/"), params.model, sampling, section, key)


def _for_batches(limits: Limits) -> Limits:
    # A batch takes as many calls as there are, at the endpoint's own pace.
    size = limits.batch_size
    wide = max(limits.lookahead, size)
    return replace(
        limits, concurrency=wide, lookahead=wide, rpm=math.inf, tpm=math.inf, poll=limits.batch_poll
    )


async def _batches(model: Model, negotiator: Negotiator, journal: Journal, limits: Limits) -> Batches:
    return Batches(model, negotiator, journal, limits)


async def _close(session: Session, batches: Batches | None, negotiator: Negotiator, journal: Journal) -> None:
    await session.close()
    if batches is not None:
        await batches.close()
    await journal.do(lambda store: store.release_all())
    await journal.close()
    await negotiator.close()
