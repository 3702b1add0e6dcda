"""What can go wrong with a call, typed: faults concern one call, teacher errors stop the run."""

from __future__ import annotations

from email.utils import parsedate_to_datetime
from typing import Any, Literal

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

_QUOTA = ("insufficient_quota", "billing_hard_limit_reached", "billing_not_active")
_FILTER = ("content_filter", "content_policy_violation", "moderation_blocked")


class TeacherError(ValueError):
    """The run cannot go on; everything answered so far is in the store and is not paid again."""


class Fault(Exception):
    """A call that brought no completion.

    status: HTTP status, if there was one. code: the endpoint's own error code.
    retry_after: seconds that the endpoint asks to wait. billed: whether the endpoint may have charged for
    the call all the same.
    """

    def __init__(
        self,
        kind: FaultKind,
        message: str,
        *,
        status: int | None = None,
        code: str = "",
        retry_after: float | None = None,
        billed: bool = False,
    ) -> None:
        super().__init__(message)
        self.kind: FaultKind = kind
        self.message = message
        self.status = status
        self.code = code
        self.retry_after = retry_after
        self.billed = billed


class CallFailed(Exception):
    """A call that is given up for this run: the row is rejected and asked again by the next run."""

    def __init__(self, reason: str, fault: Fault) -> None:
        super().__init__(reason)
        self.reason = reason
        self.fault = fault


def fault_of_status(status: int, body: Any, headers: Any, *, now: float) -> Fault:
    """The fault behind an HTTP error. body: decoded JSON or text; now: seconds since the epoch."""
    code, message = _describe(body)
    kind = _kind_of_status(status, code)
    return Fault(
        kind,
        f"status {status}: {message}",
        status=status,
        code=code,
        retry_after=_retry_after(headers, now=now),
    )


def _kind_of_status(status: int, code: str) -> FaultKind:
    if status == 402 or (status == 429 and code in _QUOTA):
        return "quota"
    if status == 429:
        return "rate_limit"
    if code in _FILTER:
        return "filtered"
    if status in (401, 403):
        return "auth" if status == 401 else "forbidden"
    if status == 404:
        return "missing"
    if status >= 500:
        return "server"
    return "timeout" if status == 408 else "rejected"


def _describe(body: Any) -> tuple[str, str]:
    """Error code and message of an error body; servers nest them in several ways."""
    found = body.get("error", body) if isinstance(body, dict) else body
    if not isinstance(found, dict):
        return "", _short(found)
    code = str(found.get("code") or found.get("type") or "")
    if str(found.get("type")) in _QUOTA:
        code = str(found["type"])
    return code, _short(found.get("message") or found.get("detail") or found)


def _short(value: Any, limit: int = 300) -> str:
    text = " ".join(str(value).split()) or "no message"
    return text if len(text) <= limit else text[:limit] + "…"


def _retry_after(headers: Any, *, now: float) -> float | None:
    """Seconds to wait from `retry-after-ms`, or `retry-after` as seconds or as an HTTP date."""
    millis, plain = headers.get("retry-after-ms"), headers.get("retry-after")
    try:
        if millis is not None:
            return max(0.0, float(millis) / 1000)
        return None if plain is None else max(0.0, float(plain))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(str(plain)).timestamp() - now)
    except (TypeError, ValueError):
        return None
