"""The endpoint: one request in, a completion or a fault out, asked in the dialect that it understands.

The official `openai` package makes the calls, without its own retries: an attempt at a completion may have
been billed, so each must pass budget and concurrency first (calls.py).

Every run finds the dialect out by the first call of each task: what an endpoint turns down costs nothing, and
one that has learnt something is asked in full again. A crash (500) could have been an accident and is believed
for minutes.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import re
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from tqdm import tqdm

from knowtuning.teacher.openai.completions import (
    CRASHES,
    TOO_LONG,
    Completion,
    Fault,
    FaultKind,
    completion_of,
    decoded,
    fault_of_status,
)
from knowtuning.teacher.openai.limits import Limits, TeacherError, Usage
from knowtuning.teacher.openai.prompts import MODES, Message, Mode, response_format, task_schema
from knowtuning.teacher.openai.store import StoreWriter
from knowtuning.teacher.tasks import Task

OFFICIAL = "https://api.openai.com/v1"
_PATH = "/chat/completions"
# Every call looks through all connections of its pool: several small pools cost less than a large one.
_POOL = 25
_SECRET = 8  # characters from which on a header's value is blacked out
_BELIEVED = 300.0  # seconds that a dialect counts that a crash led to
_ROWS = 5  # rows turned down in every dialect, before any reply, that are no accident
_PROBE = {"role": "user", "content": "Reply with the JSON object {}."}
_NO_SYSTEM = re.compile(
    r"system.{0,3} (role|message|prompt|instruction)|role.{0,30}system|developer instruction"
    r"|roles? must alternate|only user and assistant|messages\[0\]\.role",
    re.IGNORECASE,
)
# Faults that every further call would meet too.
_STOPS: dict[FaultKind, str] = {
    "auth": "{key} is not accepted by {endpoint} ({fault}); expected a key that is valid there and may use "
    "{section}.model {name!r}",
    "missing": "{section}.model {name!r} is not found at {endpoint} ({fault}); expected a model that the "
    "endpoint serves, and a {section}.base_url that ends where /chat/completions begins",
    "quota": "the account's quota at {endpoint} is used up ({fault}); what was paid is kept, add credit and "
    "run again to go on",
}


@dataclass(frozen=True, slots=True)
class Call:
    """A task as a call: its key in the store and its opening messages."""

    key: str
    task: Task
    messages: list[Message]


@dataclass(frozen=True, slots=True)
class Request:
    """What is sent for a call: the messages so far and the limit of the reply, tokens."""

    call: Call
    messages: list[Message]
    max_tokens: int


@dataclass(frozen=True, slots=True)
class Model:
    """A model at an endpoint, with the sampling parameters and further fields that are sent to it."""

    endpoint: str
    name: str
    sampling: dict[str, Any]
    extra: dict[str, Any]
    section: str  # where params.yaml names it
    key: str  # the variable that holds its key

    def __str__(self) -> str:
        return f"{self.section}.model {self.name!r} at {self.endpoint}"

    def error(self, fault: Fault) -> TeacherError | None:
        """The error behind a fault that every further call would meet too; None: the next one may not."""
        line = _STOPS.get(fault.kind)
        return None if line is None else TeacherError(line.format(fault=fault, **asdict(self)))


@dataclass(frozen=True, slots=True)
class Dialect:
    """How an endpoint wants to be asked."""

    mode: Mode = MODES[0]  # of structured output
    limit_field: str = "max_tokens"  # its name for the limit of a reply
    unsent: tuple[str, ...] = ()  # sampling parameters that it refuses
    merged: bool = False  # it has no system role, so that this text opens the user's

    def __str__(self) -> str:
        plain = asdict(Dialect())
        return ", ".join(f"{name} {value}" for name, value in asdict(self).items() if value != plain[name])

    def lower(self) -> Dialect | None:
        """With the next mode; None behind the last."""
        modes = MODES[MODES.index(self.mode) + 1 :]
        return replace(self, mode=modes[0]) if modes else None


@dataclass(frozen=True)
class ClientRun:
    """What the parts of a teacher share."""

    model: Model
    limits: Limits
    max_tokens: int  # of a first reply; a task that tells the length of its reply has a lower limit
    most_failed: float  # rows that may stay without a usable reply before the run stops
    journal: StoreWriter
    usage: Usage
    api_key: str | None
    headers: Mapping[str, str]  # as secret as the key
    dialects: dict[str, tuple[Dialect, float]] = field(default_factory=dict)  # by task; valid until
    used: set[str] = field(default_factory=set)  # the keys of the replies that served

    def say(self, line: str) -> None:
        """Print a line for the user, above the bar."""
        if self.limits.progress:
            tqdm.write(line, file=sys.stderr)


def body_of(model: Model, request: Request, dialect: Dialect) -> dict[str, Any]:
    """The JSON body of a chat completion, the same for online calls and for batches."""
    messages, task = request.messages, request.call.task
    if dialect.merged:
        text = "\n\n".join(message["content"] for message in messages[:2])
        messages = [{"role": "user", "content": text}, *messages[2:]]
    sampling = {name: value for name, value in model.sampling.items() if name not in dialect.unsent}
    body = {"model": model.name, "messages": messages, dialect.limit_field: request.max_tokens}
    form = response_format(dialect.mode, task.name, task_schema(task))
    return body | sampling | model.extra | ({} if form is None else {"response_format": form})


class Client:
    """Calls to one endpoint. The key and the further headers are held here and shown to nobody."""

    def __init__(self, run: ClientRun) -> None:
        self._model, self._run, self._known = run.model, run, run.dialects
        # A short value may be any word of a text.
        values = [run.api_key or "", *(value for value in run.headers.values() if len(value) >= _SECRET)]
        self._secrets = [value for value in values if value]
        self._apis: list[Any] = []
        self._lock = asyncio.Lock()
        self._refused: TeacherError | None = None
        self._allowed = self._diagnosed = False
        self._turned_down = 0

    async def complete(self, request: Request) -> Completion:
        """Make one call. Raises Fault, or TeacherError when the endpoint or a setting is at fault."""
        task = request.call.task
        if not self._apis or self.dialect(task) is None:
            async with self._lock:
                if self._refused is not None:
                    raise self._refused
                try:
                    await self.open()
                    if self.dialect(task) is None:
                        # What one task has taught holds for the next, but for the mode.
                        known = next((dialect for dialect, _ in self._known.values()), Dialect())
                        return await self._search(request, replace(known, mode=MODES[0]))
                except TeacherError as error:
                    # Calls that waited for this one would meet the same.
                    self._refused = error
                    raise
        return await self._call(request, self.dialect(task) or Dialect())

    def dialect(self, task: Task) -> Dialect | None:
        """How the endpoint wants to be asked for this task, where that is known."""
        dialect, until = self._known.get(task.name, (None, 0.0))
        return dialect if time.monotonic() < until else None

    async def open(self) -> None:
        """Open the connections, and ask for the model list, which costs nothing, to find a wrong address or
        key within seconds. Raises TeacherError.

        Whatever else is wrong with the list, calls may still work: a key may be barred from it (403), a
        server slow to make it.
        """
        if self._apis:
            return
        run, model, limits = self._run, self._model, self._run.limits
        if run.api_key is None and model.endpoint == OFFICIAL:
            raise TeacherError(
                f"{model.key} is not set and calls must be made; expected a key in the environment, or "
                f"{model.section}.base_url of an endpoint that needs none"
            )
        import httpx2
        import openai

        # The package's own pool keeps 100 connections; with more calls in flight it would reopen them.
        pool = httpx2.Limits(max_connections=None, max_keepalive_connections=_POOL)
        self._response_type = httpx2.Response
        self._apis = [
            openai.AsyncOpenAI(
                base_url=model.endpoint,
                api_key=run.api_key or "none",
                max_retries=0,
                default_headers=dict(run.headers),
                timeout=httpx2.Timeout(limits.timeout, connect=limits.connect_timeout, pool=None),
                http_client=openai.DefaultAsyncHttpxClient(limits=pool),
            )
            for _ in range(1 if limits.mode == "batch" else -(-limits.concurrency // _POOL))
        ]
        self._turn = itertools.cycle(self._apis)
        try:
            async with asyncio.timeout(2 * limits.connect_timeout):
                await self.api.with_options(max_retries=1).models.with_raw_response.list()
        except Exception as error:
            fault = self.fault(error)
            if fault.kind == "auth":
                raise (model.error(fault) or fault) from None
            if fault.kind == "connection":
                at = f"{model.section}.base_url"
                check = "the network" if model.endpoint == OFFICIAL else f"{at} and that the server runs"
                raise TeacherError(
                    f"{at}: {model.endpoint} cannot be reached ({fault}); check {check}"
                ) from None

    async def close(self) -> None:
        """Close the connections."""
        for api in self._apis:
            await api.close()

    @property
    def api(self) -> Any:
        """The package's client, for files and batches."""
        return self._apis[0]

    def redacted(self, text: str) -> str:
        """`text` with the secrets blacked out: an endpoint may echo what it was sent."""
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text

    def fault(self, error: Exception) -> Fault:
        """The fault behind an exception of the package. Anything unknown is raised as it is."""
        import openai

        limits, cause = self._run.limits, error.__cause__ or error
        if isinstance(error, openai.APIStatusError):
            body = decoded(self.redacted(error.response.text))
            return fault_of_status(error.status_code, body, error.response.headers)
        if type(cause).__name__ == "ConnectTimeout":
            return Fault("connection", f"no connection within {limits.connect_timeout:g} s")
        if isinstance(error, (TimeoutError, openai.APITimeoutError)):
            line = (
                f"no complete reply within {limits.timeout:g} s; a slow server needs a longer "
                "KNOWTUNING_TIMEOUT or fewer calls at once (KNOWTUNING_CONCURRENCY)"
            )
            return Fault("timeout", line, billed=True)
        if not isinstance(error, (openai.APIError, UnicodeDecodeError)):
            raise error
        kind: FaultKind = "connection" if isinstance(error, openai.APIConnectionError) else "malformed"
        line = self.redacted(f"{type(cause).__name__}: {cause}")
        return Fault(kind, line, billed=type(cause).__name__ != "ConnectError")

    async def _post(self, body: dict[str, Any]) -> Completion:
        """Make one call. Raises Fault, its message free of the key."""
        import openai

        try:
            # The package's timeout restarts with every byte; a reply that drips would never end.
            async with asyncio.timeout(self._run.limits.timeout):
                # `chat.completions.create` would walk through the body and build models of the reply,
                # at a third of the whole cost of a call; the body is right and the reply read below.
                answer = await next(self._turn).post(_PATH, cast_to=self._response_type, body=body)
        except openai.APIStatusError as error:
            answer = error.response
        except Exception as error:
            raise self.fault(error) from None
        return completion_of(answer.status_code, decoded(self.redacted(answer.text)), answer.headers)

    async def _call(self, request: Request, dialect: Dialect, *, search: bool = False) -> Completion:
        """Make a call. search: the dialect is being found out, so that a 404 may be about its fields."""
        try:
            completion = await self._post(body_of(self._model, request, dialect))
        except Fault as fault:
            if fault.kind == "forbidden" and not self._allowed:
                refusal = await self._probe(dialect)
                if refusal is not None and refusal.kind in ("forbidden", "auth"):
                    fault.kind = "auth"
            if fault.kind == "missing" and search and dialect.lower():
                fault.kind = "rejected"
            raise (self._model.error(fault) or fault) from None
        self._allowed = True
        return completion

    async def _search(self, request: Request, dialect: Dialect) -> Completion:
        """Try the dialects, best first. Raises the first fault if none works but a plain call would."""
        task = request.call.task
        faults: list[Fault] = []
        repeated = False
        while True:
            try:
                completion = await self._call(request, dialect, search=True)
            except Fault as fault:
                following = _following(dialect, fault, self._model)
                # A crash that does not say what is wrong may be an accident; servers hang up behind an error.
                accident = fault.kind == "connection" if faults else fault.status in CRASHES
                if accident and not repeated and following == dialect.lower():
                    repeated = True
                    continue
                if not _about_form(fault):
                    raise
                faults.append(fault)
            else:
                self._take(task, dialect, faults)
                return completion
            repeated = False
            if following is None:
                following = await self._diagnose(dialect)
                if following is None:
                    break
                faults = []
            dialect = following
        self._turned_down += faults[0].kind == "rejected"
        if self._turned_down >= _ROWS:
            raise TeacherError(
                f"{self._model} turns down every task {task.name!r} ({faults[0]}), {self._turned_down} so far"
            )
        raise faults[0]

    def _take(self, task: Task, dialect: Dialect, faults: list[Fault]) -> None:
        """Ask for a task in this dialect from now on, and say so where it is new; faults: what led to it."""
        news = dialect not in (Dialect(), *(known for known, _ in self._known.values()))
        crashed = any(fault.status in CRASHES for fault in faults)
        self._known[task.name] = dialect, time.monotonic() + (_BELIEVED if crashed else math.inf)
        if news:
            reason = f" ({faults[-1]})" if faults else ""
            again = f"; in full again in {_BELIEVED / 60:.0f} minutes" if crashed else ""
            self._run.say(f"{self._model} is asked for {task.name!r} with {dialect}{reason}{again}")

    async def _diagnose(self, dialect: Dialect) -> Dialect | None:
        """The dialect without what the endpoint does not take, found by minimal calls, once; None: it is the
        row. Raises TeacherError when the endpoint takes no call at all, or not the further fields."""
        if self._diagnosed:
            return None
        model = self._model
        refusal = await self._probe(dialect)
        if refusal is not None:
            if _about_form(refusal):
                check = f"check {model.section}.model"
                raise TeacherError(f"{model} turns down even a minimal call ({refusal}); {check}")
            return None
        self._diagnosed = True
        if model.extra and (refusal := await self._probe(dialect, **model.extra)) is not None:
            raise TeacherError(
                f"{model.section}.extra is turned down by {model.endpoint} ({refusal}); expected fields that "
                f"{model.name!r} takes"
            )
        unsent = [
            name
            for name, value in model.sampling.items()
            if name in dialect.unsent or await self._probe(dialect, **{name: value})
        ]
        merged = dialect.merged or await self._probe(dialect, system=True) is not None
        better = replace(dialect, unsent=tuple(unsent), merged=merged)
        return None if better == dialect else replace(better, mode=MODES[0])

    async def _probe(self, dialect: Dialect, *, system: bool = False, **fields: Any) -> Fault | None:
        """The fault that a minimal call with these fields meets."""
        messages = [{"role": "system", "content": "You reply with JSON."}, _PROBE][not system :]
        body = {"model": self._model.name, "messages": messages, dialect.limit_field: 16, **fields}
        refusal = None
        for _ in range(2):  # Servers hang up behind an error of theirs.
            try:
                await self._post(body)
            except Fault as fault:
                refusal = fault
                if fault.kind != "connection":
                    break
            else:
                self._allowed = True
                return None
        return refusal


def _about_form(fault: Fault) -> bool:
    """Whether a call in another dialect may be taken."""
    return (fault.kind == "rejected" and fault.code not in TOO_LONG) or fault.status in CRASHES


def _following(dialect: Dialect, fault: Fault, model: Model) -> Dialect | None:
    """The dialect to try when one was turned down: without what the fault names, else the next mode."""
    text = (fault.param or fault.message).lower()
    if "max_completion_tokens" in fault.message and dialect.limit_field == "max_tokens":
        return replace(dialect, limit_field="max_completion_tokens")
    if "response_format" not in text and "schema" not in text:
        for name in model.sampling:
            if re.search(rf"\b{name}\b", text) and name not in dialect.unsent:
                return replace(dialect, unsent=(*dialect.unsent, name))
        if _NO_SYSTEM.search(f"{fault.param} {fault.message}") and not dialect.merged:
            return replace(dialect, merged=True)
    return dialect.lower()
