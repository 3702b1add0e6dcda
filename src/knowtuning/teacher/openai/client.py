"""The endpoint, through the official `openai` package: one request in, a completion or a fault out.

The package's own retries are off; when to repeat a call is decided in online.py.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from knowtuning.teacher.openai.dialogue import Completion, Request
from knowtuning.teacher.openai.errors import Fault, TeacherError, fault_of_status
from knowtuning.teacher.openai.limits import Limits
from knowtuning.teacher.openai.structured import Mode, response_format

OFFICIAL = "https://api.openai.com/v1"
_PATH = "/chat/completions"
# Every call looks through all connections of its pool: several small pools cost less than a large one.
_SHARE = 25
_SECRET = 8  # characters from which on a header's value is blacked out


@dataclass(frozen=True, slots=True)
class Dialect:
    """How an endpoint wants to be asked: its structured output and its name for the reply limit."""

    mode: Mode = "json_schema"
    limit_field: str = "max_tokens"


@dataclass(frozen=True, slots=True)
class Model:
    """A model at an endpoint, with the sampling parameters that are sent to it.

    section: where params.yaml names it, key: the variable that holds its key; both for messages.
    """

    endpoint: str
    name: str
    sampling: dict[str, Any]
    section: str = "teacher"
    key: str = "OPENAI_API_KEY"


def body_of(
    model: Model, request: Request, dialect: Dialect, name: str, schema: dict[str, Any]
) -> dict[str, Any]:
    """The JSON body of a chat completion, the same for online calls and for batches."""
    body = {
        "model": model.name,
        "messages": request.messages,
        dialect.limit_field: request.max_tokens,
        **model.sampling,
    }
    wanted = response_format(dialect.mode, name, schema)
    return body if wanted is None else {**body, "response_format": wanted}


class Client:
    """Open connections to one endpoint. The key and the further headers are held here and shown to nobody."""

    def __init__(
        self, model: Model, *, api_key: str | None, limits: Limits, headers: Mapping[str, str] | None = None
    ) -> None:
        if api_key is None and model.endpoint == OFFICIAL:
            raise TeacherError(
                f"{model.key} is not set and calls must be made; expected a key in the environment, or "
                f"{model.section}.base_url of an endpoint that needs none"
            )
        import httpx2
        import openai

        self.model = model
        # A short value may be any word of a text.
        values = [value for value in (headers or {}).values() if len(value) >= _SECRET]
        self._secrets = [*([api_key] if api_key else []), *values]
        self._openai = openai
        self._raw_type = httpx2.Response
        shares = 1 if limits.mode == "batch" else -(-limits.concurrency // _SHARE)
        timeout = httpx2.Timeout(limits.timeout, connect=limits.connect_timeout, pool=None)
        # The package's own pool keeps 100 connections; with more calls in flight it would reopen them.
        pool = httpx2.Limits(max_connections=None, max_keepalive_connections=_SHARE)
        self._apis = [
            openai.AsyncOpenAI(
                base_url=model.endpoint,
                api_key=api_key or "none",
                max_retries=0,
                default_headers=dict(headers or {}),
                timeout=timeout,
                http_client=openai.DefaultAsyncHttpxClient(limits=pool),
            )
            for _ in range(shares)
        ]
        self._turn = itertools.cycle(self._apis)
        self._deadline = limits.timeout
        self._greeting = limits.connect_timeout

    async def complete(self, body: dict[str, Any]) -> Completion:
        """Make one call. Raises Fault, its message free of the key."""
        try:
            # The package's timeout restarts with every byte; a reply that drips would never end.
            async with asyncio.timeout(self._deadline):
                # `chat.completions.create` would walk through the body and build models of the reply,
                # at a third of the whole cost of a call; the body is right and the reply read below.
                raw = await next(self._turn).post(_PATH, cast_to=self._raw_type, body=body)
        except Exception as error:
            raise self._fault(error) from None
        return read_completion(self._redacted_bytes(raw.content))

    async def greet(self) -> None:
        """Ask for the list of models, which costs nothing, to see whether address and key are good.

        Raises Fault when no connection comes about or the key is refused; whatever else is wrong with the
        list, calls may still work: a key may be barred from it (403), a server slow to make it.
        """
        try:
            async with asyncio.timeout(2 * self._greeting):
                await self.api.models.with_raw_response.list()
        except Exception as error:
            fault = self._fault(error)
            if fault.kind == "connection" or fault.status == 401:
                raise fault from None

    async def close(self) -> None:
        """Close the connections."""
        for api in self._apis:
            await api.close()

    def redacted(self, text: str) -> str:
        """`text` with the secrets blacked out: an endpoint may echo what it was sent."""
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text

    def _redacted_bytes(self, data: bytes) -> bytes:
        for secret in self._secrets:
            data = data.replace(secret.encode("utf-8"), b"***")
        return data

    @property
    def api(self) -> Any:
        """The package's client, for files and batches."""
        return self._apis[0]

    def fault(self, error: Exception) -> Fault:
        """The fault behind an exception of the package. Anything unknown is raised as it is."""
        return self._fault(error)

    def _fault(self, error: Exception) -> Fault:
        package = self._openai
        if isinstance(error, package.APIStatusError):
            body = error.body if error.body is not None else error.response.text
            found = fault_of_status(error.status_code, body, error.response.headers, now=time.time())
            found.message = self.redacted(found.message)
            return found
        cause = error.__cause__ or error
        if type(cause).__name__ == "ConnectTimeout":
            return Fault("connection", f"no connection within {self._greeting:g} s")
        if isinstance(error, (TimeoutError, package.APITimeoutError)):
            what = (
                f"no complete reply within {self._deadline:g} s; a slow server needs a longer "
                "KNOWTUNING_TIMEOUT or fewer calls at once (KNOWTUNING_CONCURRENCY)"
            )
            return Fault("timeout", what, billed=True)
        if isinstance(error, package.APIConnectionError):
            sent = type(cause).__name__ != "ConnectError"
            return Fault("connection", self.redacted(f"{type(cause).__name__}: {cause}"), billed=sent)
        if isinstance(error, (package.APIError, UnicodeDecodeError)):
            return Fault("malformed", self.redacted(f"{type(error).__name__}: {error}"), billed=True)
        raise error


def read_completion(data: bytes) -> Completion:
    """The first choice of a chat completion's JSON. Raises Fault `malformed` when it is none."""
    try:
        body = json.loads(data)
    except ValueError:
        raise Fault("malformed", f"the body is no JSON: {data[:100]!r}", billed=True) from None
    return completion_of(body)


def completion_of(body: Any) -> Completion:
    """The first choice of a decoded chat completion. Raises Fault `malformed` when it is none."""
    try:
        choice = body["choices"][0]
        message, usage = choice["message"], body.get("usage") or {}
        return Completion(
            text=_writable(message.get("content") or ""),
            finish=str(choice.get("finish_reason") or ""),
            refusal=message.get("refusal") or None,
            prompt_tokens=int(usage.get("prompt_tokens") or 0),
            completion_tokens=int(usage.get("completion_tokens") or 0),
        )
    except (KeyError, IndexError, TypeError, AttributeError, ValueError):
        what = f"the body is no chat completion: {str(body)[:100]!r}"
        raise Fault("malformed", what, billed=True) from None


def _writable(content: Any) -> str:
    if not isinstance(content, str):
        raise TypeError("content is no text")
    # Half a surrogate pair cannot be written to a file; as an escape it is seen and refused as JSON.
    return content.encode("utf-8", "backslashreplace").decode("utf-8")
