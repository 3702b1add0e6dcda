"""The endpoint: one request in, a completion or a fault out, asked in the dialect that it understands.

The official `openai` package makes the calls. Its own retries serve files and batches alone: an attempt at a
completion may have been billed, so each must pass budget and concurrency first (calls.py).

Every run finds the dialect out by the first call of each task: what an endpoint turns down costs
nothing, and one that has learnt something is asked in full again. A crash (500) could have been an accident
and is believed for minutes.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import math
import re
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, astuple, dataclass, field, replace
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Literal

from tqdm import tqdm

from knowtuning.teacher.openai.limits import Limits, TeacherError, Usage
from knowtuning.teacher.openai.prompts import Message
from knowtuning.teacher.openai.structured import MODES, Mode, response_format, task_schema
from knowtuning.teacher.tasks import Task

if TYPE_CHECKING:
    from knowtuning.teacher.openai.store import StoreWriter

OFFICIAL = "https://api.openai.com/v1"
_PATH = "/chat/completions"
# Every call looks through all connections of its pool: several small pools cost less than a large one.
_POOL = 25
_SECRET = 8  # characters from which on a header's value is blacked out
_BELIEVED = 300.0  # seconds that a dialect counts that a crash led to
_ROWS = 5  # rows turned down in every dialect, before any reply, that are no accident
_PROBE = {"role": "user", "content": "Reply with the JSON object {}."}
_CRASHES = (500, 501)  # a server that is still loading says 503

FaultKind = Literal[
    "rate_limit",  # 429: wait, lower the concurrency, ask again
    "quota",  # 429 insufficient_quota, 402: stop the run
    "server",  # 5xx: back off and ask again
    "timeout",  # no complete reply in time: the same
    "connection",  # refused, reset or dropped: the same
    "malformed",  # status 200 whose body is no chat completion: the same
    "filtered",  # the provider's content filter: final for this row
    "rejected",  # any other 4xx: final for this row
    "auth",  # 401: stop the run
    "forbidden",  # 403: the key, if even a minimal call meets it; else final for this row
    "missing",  # 404: stop the run
]
RETRIED: frozenset[FaultKind] = frozenset({"server", "timeout", "connection", "malformed"})

_KINDS: dict[int, FaultKind] = {
    401: "auth",
    402: "quota",
    403: "forbidden",
    404: "missing",
    408: "timeout",
    409: "timeout",
    425: "timeout",
    429: "rate_limit",
}
_QUOTA = ("insufficient_quota", "billing_hard_limit_reached", "billing_not_active")
_FILTER = ("content_filter", "content_policy_violation", "moderation_blocked")
_TOO_LONG = ("context_length_exceeded", "string_above_max_length")
# Errors that come with status 200, or in a batch, by their word.
_STATUS = {
    **dict.fromkeys(("rate_limit_exceeded", "rate_limit_error", *_QUOTA), 429),
    **dict.fromkeys(("invalid_api_key", "authentication_error"), 401),
    **dict.fromkeys(("server_error", "internal_error", "overloaded_error"), 503),
}
_BAD_KEY = re.compile(
    r"api.?key.{0,20}(not valid|invalid|expired)|(invalid|incorrect) api.?key", re.IGNORECASE
)
_NO_SYSTEM = re.compile(
    r"system.{0,3} (role|message|prompt|instruction)|role.{0,30}system|developer instruction"
    r"|roles? must alternate|only user and assistant|messages\[0\]\.role",
    re.IGNORECASE,
)


@dataclass(eq=False)
class Fault(Exception):
    """A call that brought no completion."""

    kind: FaultKind
    message: str
    status: int | None = None  # HTTP status, if there was one
    code: str = ""  # the endpoint's own error code
    param: str = ""  # the field that it names
    retry_after: float | None = None  # seconds that it asks to wait
    billed: bool = False  # whether it may have charged for the call all the same

    def __str__(self) -> str:
        return self.message


@dataclass(frozen=True, slots=True)
class Request:
    """What is sent: the messages and the limit of the reply, tokens."""

    messages: list[Message]
    max_tokens: int


@dataclass(frozen=True, slots=True)
class Completion:
    """What came back, tokens as the endpoint counted them."""

    text: str
    finish: str  # the endpoint's finish_reason
    refusal: str | None
    prompt_tokens: int
    completion_tokens: int
    model: str = ""  # the one that served
    reasoned: bool = False  # whether thoughts came apart from the text
    line: str = ""  # of a batch


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


def body_of(model: Model, request: Request, dialect: Dialect, task: Task) -> dict[str, Any]:
    """The JSON body of a chat completion, the same for online calls and for batches."""
    messages = request.messages
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
        self.model, self._run, self._known = run.model, run, run.dialects
        # A short value may be any word of a text.
        values = [run.api_key or "", *(value for value in run.headers.values() if len(value) >= _SECRET)]
        self._secrets = [value for value in values if value]
        self._apis: list[Any] = []
        self._lock = asyncio.Lock()
        self._refused: TeacherError | None = None
        self._allowed = self._diagnosed = False
        self._turned_down = 0

    async def complete(self, request: Request, task: Task) -> Completion:
        """Make one call. Raises Fault, or TeacherError when the endpoint or a setting is at fault."""
        if not self._apis or self.dialect(task) is None:
            async with self._lock:
                if self._refused is not None:
                    raise self._refused
                try:
                    await self.open()
                    if self.dialect(task) is None:
                        # What one task has taught holds for the next, but for the mode.
                        known = next((dialect for dialect, _ in self._known.values()), Dialect())
                        return await self._search(request, task, replace(known, mode=MODES[0]))
                except TeacherError as error:
                    # Calls that waited for this one would meet the same.
                    self._refused = error
                    raise
        return await self._call(request, self.dialect(task) or Dialect(), task)

    def dialect(self, task: Task) -> Dialect | None:
        """How the endpoint wants to be asked for this task, where that is known."""
        dialect, until = self._known.get(task.name, (None, 0.0))
        return dialect if time.monotonic() < until else None

    def dialects(self) -> str:
        """All that is known of the dialect, for learn()."""
        known = {name: astuple(dialect) for name, (dialect, _) in self._known.items()}
        return json.dumps(known, separators=(",", ":"))

    def learn(self, dialects: str) -> None:
        """Take over what another run knew (dialects())."""
        for name, (mode, limit_field, unsent, merged) in json.loads(dialects).items():
            self._known[name] = Dialect(mode, limit_field, tuple(unsent), merged), math.inf

    async def open(self) -> None:
        """Open the connections, and ask for the model list, which costs nothing, to find a wrong address or
        key within seconds. Raises TeacherError.

        Whatever else is wrong with the list, calls may still work: a key may be barred from it (403), a
        server slow to make it.
        """
        if self._apis:
            return
        run, model, limits = self._run, self.model, self._run.limits
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
                raise (setting_error(fault, model) or fault) from None
            if fault.kind == "connection":
                at = f"{model.section}.base_url"
                check = "the network" if model.endpoint == OFFICIAL else f"{at} and that the server runs"
                raise TeacherError(
                    f"{at}: {model.endpoint} cannot be reached ({fault.message}); check {check}"
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
            body = error.body if error.body is not None else error.response.text
            fault = fault_of_status(error.status_code, body, error.response.headers)
            fault.message = self.redacted(fault.message)
            return fault
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
        try:
            # The package's timeout restarts with every byte; a reply that drips would never end.
            async with asyncio.timeout(self._run.limits.timeout):
                # `chat.completions.create` would walk through the body and build models of the reply,
                # at a third of the whole cost of a call; the body is right and the reply read below.
                raw = await next(self._turn).post(_PATH, cast_to=self._response_type, body=body)
        except Exception as error:
            detail = _error(getattr(error, "body", None))
            if not isinstance(detail, dict) or detail.get("code") != "json_validate_failed":
                raise self.fault(error) from None
            # The endpoint checks replies itself and sends the broken one along.
            return Completion(self.redacted(str(detail.get("failed_generation") or "")), "stop", None, 0, 0)
        text = self.redacted(raw.text)
        try:
            return completion_of(json.loads(text), raw.headers)
        except ValueError:
            raise Fault("malformed", f"the body is no JSON: {text[:100]!r}", billed=True) from None

    async def _call(
        self, request: Request, dialect: Dialect, task: Task, *, search: bool = False
    ) -> Completion:
        """Make a call. search: the dialect is being found out, so that a 404 may be about its fields."""
        try:
            completion = await self._post(body_of(self.model, request, dialect, task))
        except Fault as fault:
            if fault.kind == "forbidden" and not self._allowed:
                refusal = await self._probe(dialect)
                if refusal is not None and refusal.kind in ("forbidden", "auth"):
                    fault.kind = "auth"
            if fault.kind == "missing" and search and dialect.lower():
                fault.kind = "rejected"
            raise (setting_error(fault, self.model) or fault) from None
        self._allowed = True
        return completion

    async def _search(self, request: Request, task: Task, start: Dialect) -> Completion:
        """Try the dialects, best first. Raises the first fault if none works but a plain call would."""
        dialect: Dialect | None = start
        faults: list[Fault] = []
        repeated = False
        while dialect is not None:
            try:
                completion = await self._call(request, dialect, task, search=True)
            except Fault as fault:
                following = _following(dialect, fault, self.model)
                # A crash that does not say what is wrong may be an accident; servers hang up behind an error.
                accident = fault.kind == "connection" if faults else fault.status in _CRASHES
                if accident and not repeated and following == dialect.lower():
                    repeated = True
                    continue
                if not _about_form(fault):
                    raise
                faults.append(fault)
                last, dialect, repeated = dialect, following, False
            else:
                self._take(task, dialect, faults)
                return completion
        if not self._diagnosed and (better := await self._diagnose(last)) is not None:
            return await self._search(request, task, better)
        self._turned_down += faults[0].kind == "rejected"
        if self._turned_down >= _ROWS:
            raise TeacherError(
                f"{self.model} turns down every task {task.name!r} ({faults[0].message}), "
                f"{self._turned_down} so far"
            )
        raise faults[0]

    def _take(self, task: Task, dialect: Dialect, faults: list[Fault]) -> None:
        """Ask for a task in this dialect from now on, and say so where it is new; faults: what led to it."""
        news = dialect not in (Dialect(), *(known for known, _ in self._known.values()))
        crashed = any(fault.status in _CRASHES for fault in faults)
        self._known[task.name] = dialect, time.monotonic() + (_BELIEVED if crashed else math.inf)
        if news:
            reason = f" ({faults[-1].message})" if faults else ""
            again = f"; in full again in {_BELIEVED / 60:.0f} minutes" if crashed else ""
            self._run.say(f"{self.model} is asked for {task.name!r} with {dialect}{reason}{again}")

    async def _diagnose(self, dialect: Dialect) -> Dialect | None:
        """What of a call the endpoint does not take, found by minimal calls; None: it is the row.

        Raises TeacherError when it takes no call at all, or not the further fields.
        """
        model = self.model
        refusal = await self._probe(dialect)
        if refusal is not None:
            if _about_form(refusal):
                check = f"check {model.section}.model"
                raise TeacherError(f"{model} turns down even a minimal call ({refusal.message}); {check}")
            return None
        self._diagnosed = True
        if model.extra and (refusal := await self._probe(dialect, **model.extra)) is not None:
            raise TeacherError(
                f"{model.section}.extra is turned down by {model.endpoint} ({refusal.message}); "
                f"expected fields that {model.name!r} takes"
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
        body = {"model": self.model.name, "messages": messages, dialect.limit_field: 16, **fields}
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
    return (fault.kind == "rejected" and fault.code not in _TOO_LONG) or fault.status in _CRASHES


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


def setting_error(fault: Fault, model: Model) -> TeacherError | None:
    """The error behind a fault that every further call would meet too; None: the next one may not."""
    at, endpoint = model.section, model.endpoint
    match fault.kind:
        case "auth":
            return TeacherError(
                f"{model.key} is not accepted by {endpoint} ({fault.message}); expected a key that is valid "
                f"there and may use {at}.model {model.name!r}"
            )
        case "missing":
            return TeacherError(
                f"{at}.model {model.name!r} is not found at {endpoint} ({fault.message}); expected a model "
                f"that the endpoint serves, and a {at}.base_url that ends where /chat/completions begins"
            )
        case "quota":
            return TeacherError(
                f"the account's quota at {endpoint} is used up ({fault.message}); what was paid is kept, add "
                "credit and run again to go on"
            )
    return None


def fault_of_status(status: int, body: Any, headers: Mapping[str, str], now: float | None = None) -> Fault:
    """The fault behind an HTTP error. body: decoded JSON or text; now: seconds since the epoch."""
    error = _error(body)
    code, param, message = "", "", _short(error)
    if isinstance(error, dict):
        codes = [str(error.get(name) or "") for name in ("code", "type")]
        code = next((each for each in codes if each in _QUOTA), codes[0] or codes[1])
        param = str(error.get("param") or "")
        message = _short(error.get("message") or error.get("detail") or error)
    kind = _KINDS.get(status, "server" if status >= 500 else "rejected")
    if status == 429 and code in _QUOTA:
        kind = "quota"
    elif status != 429 and code in _FILTER:
        kind = "filtered"
    elif status == 400 and _BAD_KEY.search(message):
        kind = "auth"
    wait = _retry_after(headers, time.time() if now is None else now)
    return Fault(kind, f"status {status}: {message}", status, code, param, wait)


def _error(body: Any) -> Any:
    """The part of a body that describes an error; servers nest it in several ways."""
    body = body[0] if isinstance(body, list) and body else body
    return body.get("error") or body if isinstance(body, dict) else body


def _short(value: Any, limit: int = 300) -> str:
    text = " ".join(str(value).split()) or "no message"
    return text if len(text) <= limit else text[:limit] + "…"


def _retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds to wait from `retry-after-ms`, or `retry-after` as seconds or as an HTTP date."""
    for name, scale in (("retry-after-ms", 1000), ("retry-after", 1)):
        with suppress(KeyError, ValueError):
            return max(0.0, float(headers[name]) / scale)
    with suppress(KeyError, ValueError):
        return max(0.0, parsedate_to_datetime(headers["retry-after"]).timestamp() - now)
    return None


def completion_of(body: Any, headers: Mapping[str, str]) -> Completion:
    """The first choice of a chat completion. Raises Fault: of an error in its place, else `malformed`."""
    try:
        choice = (body.get("choices") or [{}])[0]
        error = body.get("error") or choice.get("error") or (body if body.get("object") == "error" else None)
        if error:
            raise _fault_in_place(error, headers)
        message, usage = choice["message"], body.get("usage") or {}
        return Completion(
            text=_text_of(message),
            finish=str(choice.get("finish_reason") or ""),
            refusal=message.get("refusal") or None,
            prompt_tokens=int(usage.get("prompt_tokens") or 0),
            completion_tokens=int(usage.get("completion_tokens") or 0),
            model=str(body.get("model") or ""),
            reasoned=bool(message.get("reasoning_content") or message.get("reasoning")),
        )
    except (KeyError, IndexError, TypeError, AttributeError, ValueError):
        line = f"the body is no chat completion: {str(body)[:100]!r}"
        raise Fault("malformed", line, billed=True) from None


def _fault_in_place(error: Any, headers: Mapping[str, str]) -> Fault:
    """The fault of an error that came with status 200, in place of a completion or of its choice."""
    code = error.get("code") or error.get("type") if isinstance(error, dict) else None
    status = int(str(code)) if str(code).isdecimal() else _STATUS.get(str(code), 0)
    if 400 <= status < 600:
        return fault_of_status(status, error, headers)
    return Fault("malformed", f"an error in place of a completion: {_short(error)}", billed=True)


def _text_of(message: dict[str, Any]) -> str:
    """The text of a message, also of one in parts, one decoded already, one sent as a tool's arguments."""
    content = message.get("content")
    if isinstance(content, list):
        parts = [part if isinstance(part, str) else part.get("text") for part in content]
        content = "".join(part for part in parts if isinstance(part, str))
    if isinstance(content, dict):
        content = json.dumps(content, ensure_ascii=False)
    if not content and message.get("tool_calls"):
        content = message["tool_calls"][0]["function"]["arguments"]
    if not isinstance(content or "", str):
        raise TypeError("content is no text")
    # Half a surrogate pair cannot be written to a file; as an escape it is seen and refused as JSON.
    return (content or "").encode("utf-8", "backslashreplace").decode("utf-8")
