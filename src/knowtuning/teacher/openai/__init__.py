"""The `openai` teacher: any OpenAI-compatible endpoint, paid once per call, durable per reply.

Here are the teacher and a run of it: look-ahead, order, preview, stopping.

| module | what it does |
|---|---|
| calls.py | a task to its outcome: budget, pace, repetitions, trials |
| client.py | the endpoint: its dialect, and what it answers, a completion or a fault |
| batch.py | the other way of delivery: the Batch API |
| prompts.py, reading.py | the prompt, the form a reply is asked for; how it is read |
| store.py | replies on disk, claims, group commits, travel through DVC |
| limits.py | speed, money, totals |
"""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from tqdm import tqdm

from knowtuning.config.teacher import Endpoint
from knowtuning.teacher.openai import store
from knowtuning.teacher.openai.batch import Batches
from knowtuning.teacher.openai.calls import Calls
from knowtuning.teacher.openai.client import Call, Client, Run
from knowtuning.teacher.openai.limits import CallEstimate, Limits, TeacherError, limits_from_environment
from knowtuning.teacher.openai.prompts import Prompts, reply_limit, task_schema
from knowtuning.teacher.tasks import Failure, Outcome, Task, Teacher
from knowtuning.teacher.teachers import Setting

T = TypeVar("T")

_CHUNK = 500


class OpenAITeacher(Teacher):
    """Tasks in, outcomes out, in order, each call paid at most once.

    limits: those of the environment if not given. `totals` counts over all runs of this teacher.
    """

    has_bar = True  # with calls, tokens and money

    def __init__(self, params: Endpoint, setting: Setting, limits: Limits | None = None) -> None:
        self._run = Run(params, setting, limits or limits_from_environment(setting.environ))
        self._limits, self._store, self.totals = self._run.limits, self._run.store, self._run.usage
        self._prompts = Prompts(setting.prompts)

    def run(self, tasks: Iterable[Task]) -> Iterator[tuple[Task, Outcome]]:
        """Yield each task with its outcome, in order, reading `tasks` as a stream; a sequence is looked
        through first, for an estimate. Close the generator to end the calls. Raises TeacherError when the run
        cannot go on, and behind a preview that leaves calls to pay."""
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
        new: set[str] = set()
        stream = map(self._call, tasks)
        while chunk := list(itertools.islice(stream, _CHUNK)):
            responses = self._store.find([call.key for call in chunk])
            count += len(chunk)
            for call in chunk:
                response = responses.get(call.key)
                kept = response is not None and not (self._limits.ask_again and response.failure)
                if not kept and call.key not in new:
                    new.add(call.key)
                    prompt_bytes += sum(len(message["content"].encode("utf-8")) for message in call.messages)
                    reply_tokens += call.max_tokens
        price, ceiling = self.totals.price, self._run.params.max_tokens
        return CallEstimate(count, len(new), prompt_bytes, reply_tokens, ceiling, price)

    def usage(self) -> dict[str, Any]:
        """Totals of calls, tokens and money: `paid` is this run's part, `cached` what earlier runs paid for,
        and `total` both, the same whether the stage was resumed or not."""
        return {"teacher": self.totals.metrics()}

    def load_replies(self, out: Path) -> None:
        """Put the replies that DVC keeps of `out` into the store."""
        store.import_replies(self._store, store.previous_output(out), out)

    def save_replies(self, out: Path) -> None:
        """Export the replies that this teacher's runs used."""
        store.export_replies(self._store, self._run.used, out)

    def close(self) -> None:
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
        limits = self._limits
        client = Batches(self._run) if limits.mode == "batch" else Client(self._run)
        calls = Calls(self._run, client.complete)
        window = max(limits.lookahead, 2 * limits.concurrency)
        size = min(_CHUNK, window)
        ahead: deque[tuple[Call, asyncio.Future[Outcome]]] = deque()
        ended = False
        try:
            while True:
                while not ended and not calls.error and len(ahead) <= window - size:
                    chunk = list(itertools.islice(stream, size))
                    ended = len(chunk) < size
                    ahead.extend(zip(chunk, await calls.start(chunk), strict=True))
                if not ahead:
                    return
                await asyncio.wait({ahead[0][1]})
                if calls.error:
                    raise calls.error
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
            await client.close()
            # A call that was cancelled may not have come to give up its claim.
            await self._store.do(store.Store.release_all)
            await self._store.settle()

    def _call(self, task: Task) -> Call:
        run, params, messages = self._run, self._run.params, self._prompts.messages(task)
        key = store.request_key(
            endpoint=run.endpoint,
            model=params.model,
            messages=messages,
            sampling={**run.sampling, **params.extra, "max_tokens": params.max_tokens},
            schema=task_schema(task),
            sample=getattr(task, "sample", 0),
        )
        return Call(key, task, messages, reply_limit(task, params.max_tokens))


async def _awaited(value: Awaitable[T]) -> T:
    return await value
