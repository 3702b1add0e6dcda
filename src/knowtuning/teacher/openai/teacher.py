"""The `openai` teacher: tasks in, outcomes out, in order, each call paid at most once."""

from __future__ import annotations

import asyncio
import itertools
import math
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from tqdm import tqdm

from knowtuning.config.teacher import Endpoint
from knowtuning.teacher.openai.batch import Batches
from knowtuning.teacher.openai.calls import Calls
from knowtuning.teacher.openai.client import OFFICIAL, Call, Client, ClientRun, Model
from knowtuning.teacher.openai.limits import CallEstimate, Limits, TeacherError, Usage, price_of
from knowtuning.teacher.openai.prompts import Prompts, reply_limit, task_schema
from knowtuning.teacher.openai.store import (
    Store,
    StoreWriter,
    export_replies,
    import_replies,
    previous_output,
    request_key,
)
from knowtuning.teacher.tasks import Failure, Outcome, Task

T = TypeVar("T")

STORE_NAME = "teacher.sqlite"
_CHUNK = 500


class OpenAITeacher:
    """Answers tasks through an OpenAI-compatible endpoint and a durable store of replies.

    cache: the folder of the store. api_key: may be None where no call has to be made, and for endpoints
    that need none. section: where params.yaml has `params`, key: the variable that holds the key, both for
    messages. headers: sent with every call, and as secret as the key. most_failed: rows that may stay
    without a usable reply before the run stops. `totals` counts over all runs of this teacher.
    """

    has_bar = True  # with calls, tokens and money

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
        # The address is always named, so that no variable of the package can redirect calls and their keys.
        endpoint = (params.base_url or OFFICIAL).rstrip("/")
        official, batch = endpoint == OFFICIAL, limits.mode == "batch"
        named = {"temperature": params.temperature, "top_p": params.top_p, "seed": params.seed}
        sampling = {name: value for name, value in named.items() if value is not None}
        model = Model(endpoint, params.model, sampling, params.extra, section, key)
        self.totals = Usage(price=price_of(params.model, limits.prices, official=official, batch=batch))
        if self.totals.price is None and limits.budget < math.inf:
            raise ValueError(
                f"KNOWTUNING_BUDGET is set but no price is known for {model}; name it in a price table "
                "(KNOWTUNING_PRICES)"
            )
        if batch:
            # A batch takes as many calls as there are, at the endpoint's own pace.
            wide = max(limits.lookahead, limits.batch_size)
            limits = replace(limits, concurrency=wide, lookahead=wide, poll=limits.batch_poll)
            limits = replace(limits, rpm=math.inf, tpm=math.inf)
        self._limits, self._prompts, self._store = limits, Prompts(prompts), Store(cache / STORE_NAME)
        journal, most = StoreWriter(self._store), params.max_tokens
        self._run = ClientRun(model, limits, most, most_failed, journal, self.totals, api_key, headers or {})

    def run(self, tasks: Iterable[Task]) -> Iterator[tuple[Task, Outcome]]:
        """Yield each task with its outcome, in order, reading `tasks` as a stream.

        A sequence is looked through first, for an estimate. Calls go on while the caller asks for
        outcomes; close the generator to end them. Raises TeacherError when the run cannot go on, and behind a
        preview that leaves calls to pay.
        """
        preview = self._limits.preview
        if preview is not None:
            tasks = list(tasks)
        estimate = None
        if isinstance(tasks, Sequence):
            estimate = self.estimate_of(tasks)
            self._run.say(str(estimate))
            if estimate.calls and preview is not None:
                for task, outcome in self._outcomes(tasks[:preview]):
                    failure = outcome.reason if isinstance(outcome, Failure) else None
                    reply = f"no reply: {failure}" if failure else outcome.model_dump_json()
                    prompt = self._call(task).messages[-1]["content"]
                    self._run.say(f"--- {task.name} {task.id}\n{prompt}\n>>> {reply}")
                raise TeacherError(
                    f"preview: {min(preview, len(tasks))} of {len(tasks)} rows are done and kept; run again "
                    "without KNOWTUNING_PREVIEW to go on"
                )
        yield from self._outcomes(tasks, estimate.tasks if estimate else None)

    def estimate_of(self, tasks: Iterable[Task]) -> CallEstimate:
        """What a run over `tasks` will take, without making a call."""
        count = prompt_bytes = reply_tokens = 0
        max_tokens, stream = self._run.max_tokens, map(self._call, tasks)
        new: set[str] = set()
        while chunk := list(itertools.islice(stream, _CHUNK)):
            responses = self._store.find([call.key for call in chunk])
            count += len(chunk)
            for call in chunk:
                response = responses.get(call.key)
                kept = response is not None and not (self._limits.ask_again and response.failure)
                if not kept and call.key not in new:
                    new.add(call.key)
                    prompt_bytes += sum(len(message["content"].encode("utf-8")) for message in call.messages)
                    reply_tokens += reply_limit(call.task, max_tokens)
        calls, price = len(new), self.totals.price
        return CallEstimate(count, count - calls, calls, prompt_bytes, reply_tokens, max_tokens, price)

    def usage(self) -> dict[str, Any]:
        """Totals of calls, tokens and money.

        `paid` is this run's part and `cached` what earlier runs paid for; `total` is both, and the same
        whether the stage was resumed or not.
        """
        return {"teacher": self.totals.metrics()}

    def load_replies(self, out: Path, root: Path) -> int:
        """Put the replies that DVC keeps of `out` into the store; returns how many were new."""
        lines = previous_output(root, out)
        return 0 if lines is None else import_replies(self._store, lines, out)

    def save_replies(self, out: Path) -> int:
        """Export the replies that this teacher's runs used; returns their number."""
        return export_replies(self._store, self._run.used, out)

    def close(self) -> None:
        """Close the store."""
        self._store.close()

    def _outcomes(self, tasks: Iterable[Task], total: int | None = None) -> Iterator[tuple[Task, Outcome]]:
        batches = self._batches(map(self._call, tasks))
        shown = self._limits.progress
        bar = tqdm(total=total, unit="task", desc="teacher", disable=not shown, mininterval=0.5)
        with bar, asyncio.Runner() as runner:
            try:
                while batch := runner.run(_awaited(anext(batches, None))):
                    yield from batch
                    bar.set_postfix_str(str(self.totals), refresh=False)
                    bar.update(len(batch))
            finally:
                runner.run(_awaited(batches.aclose()))

    async def _batches(self, stream: Iterator[Call]) -> AsyncGenerator[list[tuple[Task, Outcome]], None]:
        """Outcomes in order, in lists of those that are ready together. Reads ahead and answers side by side;
        memory holds the look-ahead and no more."""
        limits, journal = self._limits, self._run.journal
        client = Client(self._run)
        batches = Batches(self._run, client) if limits.mode == "batch" else None
        calls = Calls(self._run, (batches or client).complete)
        window = max(limits.lookahead, 2 * limits.concurrency)
        size = min(_CHUNK, window)
        ahead: deque[tuple[Call, asyncio.Future[Outcome]]] = deque()
        ended = False
        try:
            while True:
                while not ended and not calls.broken.done() and len(ahead) <= window - size:
                    chunk = list(itertools.islice(stream, size))
                    ended = len(chunk) < size
                    ahead.extend(zip(chunk, await calls.start(chunk), strict=True))
                if not ahead:
                    return
                either: set[asyncio.Future[Any]] = {ahead[0][1], calls.broken}
                await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
                if calls.broken.done():
                    await calls.broken
                ready = []
                while ahead and ahead[0][1].done():
                    call, outcome = ahead.popleft()
                    ready.append((call.task, outcome.result()))
                yield ready
        except Exception:
            await calls.end(at_once=False)
            raise
        finally:
            await calls.end(at_once=True)
            if batches is not None:
                await batches.close()
            await client.close()
            await journal.do(Store.release_all)
            await journal.close()

    def _call(self, task: Task) -> Call:
        model, messages = self._run.model, self._prompts.messages(task)
        key = request_key(
            endpoint=model.endpoint,
            model=model.name,
            messages=messages,
            sampling={**model.sampling, **model.extra, "max_tokens": self._run.max_tokens},
            schema=task_schema(task),
            sample=getattr(task, "sample", 0),
        )
        return Call(key, task, messages)


async def _awaited(value: Awaitable[T]) -> T:
    return await value
