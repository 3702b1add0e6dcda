"""What an endpoint answers, online or in a batch: a completion, or the fault in its place."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, Literal, get_args

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
# Errors that come with status 200, or in a batch, by their word.
_STATUS = {
    **dict.fromkeys(("rate_limit_exceeded", "rate_limit_error", *_QUOTA), 429),
    **dict.fromkeys(("invalid_api_key", "authentication_error"), 401),
    **dict.fromkeys(("server_error", "internal_error", "overloaded_error"), 503),
}
_BAD_KEY = re.compile(
    r"api.?key.{0,20}(not valid|invalid|expired)|(invalid|incorrect) api.?key", re.IGNORECASE
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
