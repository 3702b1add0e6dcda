"""The endpoint: one call in, a completion or a fault out, asked in the dialect that it understands.

The official `openai` package makes the calls, without its own retries: an attempt at a completion may have
been billed, so each must pass budget and concurrency first (calls.py).

Every run finds the dialect out by the first call of each task: what an endpoint turns down costs nothing.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import math
import re
import sys
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from email.utils import parsedate_to_datetime
from typing import Any, Literal, get_args

from tqdm import tqdm

from knowtuning.config.teacher import Endpoint
from knowtuning.teacher.openai.limits import (
    Limits,
    TeacherError,
    Usage,
    headers_from_environment,
    key_from_environment,
    price_of,
)
from knowtuning.teacher.openai.prompts import MODES, Message, Mode, response_format, task_schema
from knowtuning.teacher.openai.store import Store
from knowtuning.teacher.tasks import Task
from knowtuning.teacher.teachers import Setting

OFFICIAL = "https://api.openai.com/v1"
STORE_NAME = "teacher.sqlite"
_PATH = "/chat/completions"
# Every call looks through all connections of its pool: several small pools cost less than a large one.
_POOL = 25
# Variables that say which way calls go, and which certificates and accounts they name.
_WAYS = re.compile("(?i:(https?|all|no)_proxy)|SSL_CERT_(FILE|DIR)|OPENAI_(ORG|PROJECT)_ID")
# Errors that come before anything is sent.
_UNSENT = ("LocalProtocolError", "UnsupportedProtocol", "UnicodeEncodeError")
_CONNECT = 5.0  # seconds in which the endpoint must be reached
_SECRET = 8  # characters from which on a header's value is blacked out
_BELIEVED = 300.0  # seconds that a dialect counts that a crash led to
_ROWS = 5  # rows turned down in every dialect, before any reply, that are no accident
_PROBE = {"role": "user", "content": "Reply with the JSON object {}."}
CRASHES = (500, 501)  # a server that is still loading says 503
TOO_LONG = ("context_length_exceeded", "string_above_max_length")

# rate_limit: wait, lower the concurrency, ask again. Retried: back off, ask again; malformed has status 200
# and no chat completion. filtered (by the provider's content filter) and rejected are final for the row, and
# so is forbidden where a minimal call is allowed. auth, quota, missing: every further call would meet them.
_Retried = Literal["server", "timeout", "connection", "malformed"]
FaultKind = _Retried | Literal["rate_limit", "filtered", "rejected", "forbidden", "auth", "quota", "missing"]
RETRIED: tuple[FaultKind, ...] = get_args(_Retried)
# By HTTP status; any other is server from 500 on, else rejected.
_KINDS: dict[int, FaultKind] = {401: "auth", 402: "quota", 403: "forbidden", 404: "missing"}
_KINDS |= {408: "timeout", 409: "timeout", 425: "timeout", 429: "rate_limit"}
_QUOTA = ("insufficient_quota", "billing_hard_limit_reached", "billing_not_active")
_FILTER = ("content_filter", "content_policy_violation", "moderation_blocked")
# Further words for the end of a reply, and fields of a message with thoughts.
_FINISH = {
    **dict.fromkeys(("max_tokens", "max_output_tokens", "model_length"), "length"),
    **dict.fromkeys(("safety", "sensitive", "prohibited_content", "recitation"), "content_filter"),
}
_THOUGHTS = ("reasoning_content", "reasoning", "reasoning_details", "thinking")
# Errors that come with status 200, or in a batch, by their word.
_STATUS = {
    **dict.fromkeys(("rate_limit_exceeded", "rate_limit_error", *_QUOTA), 429),
    **dict.fromkeys(("invalid_api_key", "authentication_error"), 401),
    **dict.fromkeys(("server_error", "internal_error", "overloaded_error"), 503),
}
_BAD_KEY = re.compile(r"(?i)api.?key.{0,20}(not valid|invalid|expired)|(invalid|incorrect) api.?key")
# What endpoints say of an empty account, with status 400, 403 or 429, and of too many calls, with status 200.
_BROKE = re.compile(
    r"(?i)insufficient.{0,9}(balance|funds|credit)|credit balance"
    r"|(out of|no|any|enough) credits|余额不足|欠费"
)
_BUSY = re.compile(r"(?i)rate.?limit|too many requests")
# Faults that every further call would meet too.
_STOPS: dict[FaultKind, str] = {
    "auth": "{key} is not accepted by {endpoint} ({fault}); expected a key that is valid there and may use "
    "{section}.model {name!r}",
    "missing": "{section}.model {name!r} is not found at {endpoint} ({fault}); expected a model that the "
    "endpoint serves, and a {section}.base_url that ends where /chat/completions begins",
    "quota": "the account's quota at {endpoint} is used up ({fault}); what was paid is kept, add credit and "
    "run again to go on",
}


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
class Completion:
    """What came back; the tokens are as the endpoint counts them."""

    text: str
    finish: str = "stop"  # the endpoint's finish_reason
    refusal: str | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0
    model: str = ""  # the one that served
    reasoned: bool = False  # whether thoughts came apart from the text


def decoded(text: str) -> Any:
    """The JSON value that a body is, or its text where it is none."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def completion_of(status: int, body: Any, headers: Mapping[str, str]) -> Completion:
    """The completion in a decoded body: its first choice. Raises Fault."""
    if status >= 400:
        error = _error(body)
        if isinstance(error, dict) and error.get("code") == "json_validate_failed":
            # The endpoint checks replies itself and sends the broken one along.
            return Completion(str(error.get("failed_generation") or ""))
        raise fault_of_status(status, body, headers)
    if isinstance(body, str):
        raise Fault("malformed", f"the body is no JSON: {body[:100]!r}", billed=True)
    try:
        choice = (body.get("choices") or [{}])[0]
        error = body.get("error") or choice.get("error")
        if error or "choices" not in body:
            raise _fault_in_place(error or body, headers)
        message, usage = choice["message"], body.get("usage") or {}
        finish = str(choice.get("finish_reason") or "").lower()
        names = ("prompt_tokens", "completion_tokens", "total_tokens")
        prompt, reply, total = (int(usage.get(name) or 0) for name in names)
        return Completion(
            text=_text_of(message),
            finish=_FINISH.get(finish, finish),
            refusal=message.get("refusal") or None,
            prompt_tokens=prompt,
            # Gemini counts thoughts, which are paid as replies are, in the total alone.
            completion_tokens=max(reply, total - prompt) if prompt else reply,
            model=str(body.get("model") or ""),
            reasoned=any(map(message.get, _THOUGHTS)),
        )
    except (KeyError, IndexError, TypeError, AttributeError, ValueError):
        line = f"the body is no chat completion: {str(body)[:100]!r}"
        raise Fault("malformed", line, billed=True) from None


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
    if (status == 429 and code in _QUOTA) or (kind != "server" and _BROKE.search(message)):
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


def _fault_in_place(error: Any, headers: Mapping[str, str]) -> Fault:
    """The fault of what came with status 200 in place of a completion or of its choice."""
    names = ("code", "type", "status") if isinstance(error, dict) else ()
    codes = [str(error[name]) for name in names if error.get(name)]
    statuses = [int(code) if code.isdecimal() else _STATUS.get(code, 0) for code in codes]
    # Where no code says it, the words do.
    statuses += [status for status, words in ((402, _BROKE), (429, _BUSY)) if words.search(str(error))]
    for status in statuses:
        if 400 <= status < 600:
            return fault_of_status(status, error, headers)
    return Fault("malformed", f"no chat completion came: {_short(error)}", billed=True)


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


@dataclass(frozen=True, slots=True)
class Call:
    """A task as a call: the key of its reply, the messages so far, and the limit of a reply, tokens."""

    key: str
    task: Task
    messages: list[Message]
    max_tokens: int

    @property
    def opening(self) -> list[Message]:
        """The system and the user message that it begins with."""
        return self.messages[:2]


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


class Run:
    """What the parts of a teacher share, over all its runs."""

    def __init__(self, params: Endpoint, setting: Setting, limits: Limits) -> None:
        # Always named, so that no variable of the package can redirect calls and their keys.
        self.endpoint = (params.base_url or OFFICIAL).rstrip("/")
        self.params, self.section, self.most_failed = params, setting.section, setting.most_failed
        named = {name: getattr(params, name) for name in ("temperature", "top_p", "seed")}
        self.sampling = {name: value for name, value in named.items() if value is not None}
        judge = "KNOWTUNING_JUDGE_API_KEY"
        self.key = judge if self.section == "judge" and setting.environ.get(judge) else "OPENAI_API_KEY"
        self.api_key = key_from_environment(setting.environ, self.key)
        self.headers = headers_from_environment(setting.environ)  # as secret as the key
        ways = [name for name, value in setting.environ.items() if value and _WAYS.fullmatch(name)]
        self.ways = f", and what {', '.join(sorted(ways))} of the environment says" if ways else ""
        batch = limits.mode == "batch"
        price = price_of(params.model, limits.prices, official=self.endpoint == OFFICIAL, batch=batch)
        if price is None and limits.budget < math.inf:
            raise ValueError(
                f"KNOWTUNING_BUDGET is set but no price is known for {self}; name it in a price table "
                "(KNOWTUNING_PRICES)"
            )
        if batch:
            # A batch takes as many calls as there are, at the endpoint's own pace.
            wide = max(limits.lookahead, limits.batch_size)
            limits = replace(limits, concurrency=wide, lookahead=wide, poll=limits.batch_poll)
            limits = replace(limits, rpm=math.inf, tpm=math.inf)
        self.limits, self.usage = limits, Usage(price=price)
        self.store = Store(setting.cache / STORE_NAME)
        self.dialects: dict[str, tuple[Dialect, float]] = {}  # by task; valid until
        self.used: set[str] = set()  # the keys of the replies that served

    def __str__(self) -> str:
        return f"{self.section}.model {self.params.model!r} at {self.endpoint}"

    def error(self, fault: Fault) -> TeacherError | None:
        """The error behind a fault that every further call would meet too; None: the next one may not."""
        if fault.kind not in _STOPS:
            return None
        names = {"key": self.key, "section": self.section, "name": self.params.model}
        return TeacherError(_STOPS[fault.kind].format(fault=fault, endpoint=self.endpoint, **names))

    def say(self, line: str) -> None:
        """Print a line for the user, above the bar."""
        if self.limits.progress:
            tqdm.write(line, file=sys.stderr)

    def body(self, call: Call, dialect: Dialect) -> dict[str, Any]:
        """The JSON body of a chat completion, the same for online calls and for batches."""
        messages, task = call.messages, call.task
        if dialect.merged:
            text = "\n\n".join(message["content"] for message in messages[:2])
            messages = [{"role": "user", "content": text}, *messages[2:]]
        body = {"model": self.params.model, "messages": messages, dialect.limit_field: call.max_tokens}
        body |= {name: value for name, value in self.sampling.items() if name not in dialect.unsent}
        form = response_format(dialect.mode, task.name, task_schema(task))
        return body | self.params.extra | ({} if form is None else {"response_format": form})


class Client:
    """Calls to one endpoint. The key and the further headers are held here and shown to nobody."""

    def __init__(self, run: Run) -> None:
        self._run, self._known = run, run.dialects
        # A short value may be any word of a text.
        values = [run.api_key or "", *(value for value in run.headers.values() if len(value) >= _SECRET)]
        self._secrets = [value for value in values if value]
        self._apis: list[Any] = []
        self.api: Any = None  # the package's client, for files and batches
        self._lock = asyncio.Lock()
        self._refused: TeacherError | None = None
        self.reached = False  # whether the server ever answered
        self._allowed = self._diagnosed = False
        self._turned_down = 0

    async def complete(self, call: Call) -> Completion:
        """Make one call. Raises Fault, or TeacherError when the endpoint or a setting is at fault."""
        self.open()
        if self.dialect(call.task) is None:
            async with self._lock:
                if self._refused is not None:
                    raise self._refused
                if self.dialect(call.task) is None:
                    try:
                        return await self._search(call)
                    except TeacherError as error:
                        # Calls that wait for this one would meet the same.
                        self._refused = error
                        raise
        return await self._call(call, self.dialect(call.task) or Dialect())

    def dialect(self, task: Task) -> Dialect | None:
        """How the endpoint wants to be asked for this task, where that is known."""
        dialect, until = self._known.get(task.name, (None, 0.0))
        return dialect if time.monotonic() < until else None

    def open(self) -> None:
        """Open the connections. Raises TeacherError without a key where one is needed."""
        if self._apis:
            return
        run, limits = self._run, self._run.limits
        if run.api_key is None and run.endpoint == OFFICIAL:
            raise TeacherError(
                f"{run.key} is not set and calls must be made; expected a key in the environment, or "
                f"{run.section}.base_url of an endpoint that needs none"
            )
        import httpx2
        import openai

        # The package's own pool keeps 100 connections; with more calls in flight it would reopen them.
        pool = httpx2.Limits(max_connections=None, max_keepalive_connections=_POOL)
        self._response_type = httpx2.Response
        try:
            self._apis = [
                openai.AsyncOpenAI(
                    base_url=run.endpoint,
                    api_key=run.api_key or "none",
                    max_retries=0,
                    default_headers=dict(run.headers),
                    timeout=httpx2.Timeout(limits.timeout, connect=_CONNECT, pool=None),
                    http_client=openai.DefaultAsyncHttpxClient(limits=pool),
                )
                for _ in range(1 if limits.mode == "batch" else -(-limits.concurrency // _POOL))
            ]
        except (ImportError, OSError, ValueError, httpx2.InvalidURL) as error:
            raise TeacherError(self._unsendable(error)) from error
        self.api, self._turn = self._apis[0], itertools.cycle(self._apis)

    async def close(self) -> None:
        for api in self._apis:
            await api.close()

    def _unsendable(self, cause: BaseException) -> str:
        """Why no call can be sent from here."""
        run, line = self._run, self.redacted(f"{type(cause).__name__}: {cause}")
        return f"{run.section}.base_url: no call can be sent to {run.endpoint} ({line}); check it{run.ways}"

    def redacted(self, text: str) -> str:
        """`text` with the secrets blacked out: an endpoint may echo what it was sent."""
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text

    def fault(self, error: Exception) -> Fault:
        """The fault behind an exception of the package. Raises TeacherError where no server was ever reached,
        and anything unknown as it is."""
        import openai

        run, cause = self._run, error.__cause__ or error
        name = type(cause).__name__
        if isinstance(error, openai.APIStatusError):
            body = decoded(self.redacted(error.response.text))
            return fault_of_status(error.status_code, body, error.response.headers)
        if name in _UNSENT:
            raise TeacherError(self._unsendable(cause))
        if name in ("ConnectError", "ConnectTimeout", "ProxyError"):
            line = self.redacted(f"{name}: {cause}")
            if not self.reached:
                at = f"{run.section}.base_url"
                check = "the network" if run.endpoint == OFFICIAL else f"{at}, that the server runs"
                raise TeacherError(
                    f"{at}: {run.endpoint} cannot be reached ({line}); check {check}{run.ways}"
                )
            return Fault("connection", line)
        if isinstance(error, (TimeoutError, openai.APITimeoutError)):
            line = (
                f"no complete reply within {run.limits.timeout:g} s; a slow server needs a longer "
                "KNOWTUNING_TIMEOUT or fewer calls at once (KNOWTUNING_CONCURRENCY)"
            )
            return Fault("timeout", line, billed=True)
        if not isinstance(error, (openai.APIError, UnicodeDecodeError)):
            raise error
        kind: FaultKind = "connection" if isinstance(error, openai.APIConnectionError) else "malformed"
        return Fault(kind, self.redacted(f"{name}: {cause}"), billed=True)

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
        self.reached = True
        return completion_of(answer.status_code, decoded(self.redacted(answer.text)), answer.headers)

    async def _call(self, call: Call, dialect: Dialect, *, search: bool = False) -> Completion:
        """Make a call. search: the dialect is being found out, so that a 404 may be about its fields."""
        try:
            completion = await self._post(self._run.body(call, dialect))
        except Fault as fault:
            if fault.kind == "forbidden" and not self._allowed:
                refusal = await self._probe(dialect)
                if refusal is not None and refusal.kind in ("forbidden", "auth"):
                    fault.kind = "auth"
            if fault.kind == "missing" and search and dialect.lower():
                fault.kind = "rejected"
            raise (self._run.error(fault) or fault) from None
        self._allowed = True
        return completion

    async def _search(self, call: Call) -> Completion:
        """Make the first call of a task: try the dialects, best first. Raises the first fault if none works
        but a minimal call would."""
        # What one task has taught holds for the next, but for the mode.
        known = next((dialect for dialect, _ in self._known.values()), Dialect())
        dialect = replace(known, mode=MODES[0])
        faults: list[Fault] = []
        repeated = False
        while True:
            try:
                completion = await self._call(call, dialect, search=True)
            except Fault as fault:
                following = _following(dialect, fault, self._run.sampling)
                # A crash that does not say what is wrong may be an accident; servers hang up behind an error.
                accident = fault.kind == "connection" if faults else fault.status in CRASHES
                if accident and not repeated and following == dialect.lower():
                    repeated = True
                    continue
                if not _about_form(fault):
                    raise
                faults.append(fault)
            else:
                self._take(call.task, dialect, faults)
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
            every = f"every task {call.task.name!r} ({faults[0]}), {self._turned_down} so far"
            raise TeacherError(f"{self._run} turns down {every}")
        raise faults[0]

    def _take(self, task: Task, dialect: Dialect, faults: list[Fault]) -> None:
        """Ask for a task in this dialect from now on, and say so where it is new; faults: what led to it."""
        news = dialect not in (Dialect(), *(known for known, _ in self._known.values()))
        crashed = any(fault.status in CRASHES for fault in faults)
        self._known[task.name] = dialect, time.monotonic() + (_BELIEVED if crashed else math.inf)
        if news:
            reason = f" ({faults[-1]})" if faults else ""
            again = f"; in full again in {_BELIEVED / 60:.0f} minutes" if crashed else ""
            self._run.say(f"{self._run} is asked for {task.name!r} with {dialect}{reason}{again}")

    async def _diagnose(self, dialect: Dialect) -> Dialect | None:
        """The dialect without what the endpoint does not take, found by minimal calls, once; None: it is the
        row. Raises TeacherError when the endpoint takes no call at all, or not the further fields."""
        if self._diagnosed:
            return None
        run, at = self._run, self._run.section
        refusal = await self._probe(dialect)
        if refusal is not None:
            if _about_form(refusal):
                raise TeacherError(f"{run} turns down even a minimal call ({refusal}); check {at}.model")
            return None
        self._diagnosed = True
        if run.params.extra and (refusal := await self._probe(dialect, run.params.extra)) is not None:
            raise TeacherError(
                f"{at}.extra is turned down by {run.endpoint} ({refusal}); expected fields that "
                f"{run.params.model!r} takes"
            )
        unsent = [
            name
            for name, value in run.sampling.items()
            if name in dialect.unsent or await self._probe(dialect, {name: value})
        ]
        merged = dialect.merged or await self._probe(dialect, system=True) is not None
        better = replace(dialect, unsent=tuple(unsent), merged=merged)
        return None if better == dialect else replace(better, mode=MODES[0])

    async def _probe(
        self, dialect: Dialect, fields: Mapping[str, Any] | None = None, *, system: bool = False
    ) -> Fault | None:
        """The fault that a minimal call with these fields meets."""
        messages = [{"role": "system", "content": "You reply with JSON."}, _PROBE][not system :]
        body = {"model": self._run.params.model, "messages": messages, dialect.limit_field: 16}
        body |= fields or {}
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


def _following(dialect: Dialect, fault: Fault, sampling: Iterable[str]) -> Dialect | None:
    """The dialect to try when one was turned down: without what the fault names, else the next mode."""
    text = (fault.param or fault.message).lower()
    if "max_completion_tokens" in fault.message and dialect.limit_field == "max_tokens":
        return replace(dialect, limit_field="max_completion_tokens")
    for name in () if "response_format" in text or "schema" in text else sampling:
        if re.search(rf"\b{name}\b", text) and name not in dialect.unsent:
            return replace(dialect, unsent=(*dialect.unsent, name))
    return dialect.lower()
