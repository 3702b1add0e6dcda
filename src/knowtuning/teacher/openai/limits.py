"""How fast, how long and for how much money the teacher may be called: knobs of a machine and a purse.

None of them changes a reply, so none is a tracked parameter: stages read them from the environment.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal


@dataclass(frozen=True)
class Limits:
    """Limits of one run. Times in seconds, money in the currency of the price table (US dollars).

    mode: online calls, or the cheaper and slower Batch API (same keys, same replies).
    concurrency: calls in flight at most. rpm, tpm: requests and tokens a minute; inf: no limit.
    budget: spending of this run at most; inf: no limit. prices: a price table to use instead of ours.
    timeout: of one call. connect_timeout: of reaching the endpoint.
    retries: repetitions of a call after 5xx, timeouts and dropped bodies. patience: total waiting of a
    call under 429. backoff, backoff_cap: first and longest pause; each is drawn evenly from 0 to its
    bound (full jitter), and the bound doubles.
    give_up_after: rows without a usable reply, in a row, before the run stops. ask_again: whether replies
    that an earlier run found unusable are bought again. lookahead: tasks read ahead of the
    oldest unanswered one. batch_size: calls in one batch. poll: pause between looks at a batch or at a
    call that another process is making.
    """

    mode: Literal["online", "batch"] = "online"
    concurrency: int = 16
    rpm: float = math.inf
    tpm: float = math.inf
    budget: float = math.inf
    prices: Path | None = None
    timeout: float = 120.0
    connect_timeout: float = 5.0
    retries: int = 6
    patience: float = 900.0
    backoff: float = 0.5
    backoff_cap: float = 30.0
    give_up_after: int = 20
    ask_again: bool = False
    lookahead: int = 2000
    batch_size: int = 20000
    poll: float = 0.5
    batch_poll: float = 30.0
    progress: bool = True

    def __post_init__(self) -> None:
        for name in ("concurrency", "rpm", "tpm", "timeout", "connect_timeout", "lookahead", "batch_size"):
            if not getattr(self, name) > 0:
                raise ValueError(f"limits: {name} is {getattr(self, name)}; expected > 0")
        if not self.budget >= 0:
            raise ValueError(f"limits: budget is {self.budget}; expected >= 0")


# Environment variable -> field. A variable that is absent or empty leaves the default.
VARIABLES = {
    "KNOWTUNING_TEACHER_MODE": "mode",
    "KNOWTUNING_CONCURRENCY": "concurrency",
    "KNOWTUNING_RPM": "rpm",
    "KNOWTUNING_TPM": "tpm",
    "KNOWTUNING_BUDGET": "budget",
    "KNOWTUNING_PRICES": "prices",
    "KNOWTUNING_TIMEOUT": "timeout",
    "KNOWTUNING_RETRIES": "retries",
    "KNOWTUNING_ASK_AGAIN": "ask_again",
}


def limits_from_environment(environ: Mapping[str, str]) -> Limits:
    """Limits with the variables of VARIABLES applied. Raises ValueError naming a bad variable."""
    limits = Limits()
    kinds = {entry.name: type(getattr(limits, entry.name)) for entry in fields(Limits)}
    for variable, name in VARIABLES.items():
        text = environ.get(variable, "").strip()
        if text:
            limits = replace(limits, **{name: _value(variable, text, name, kinds[name])})
    return limits


def headers_from_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Further headers of every call, from KNOWTUNING_HEADERS. Raises ValueError, the values not shown."""
    text = environ.get("KNOWTUNING_HEADERS", "").strip()
    try:
        found = json.loads(text or "{}")
    except ValueError:
        found = None
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise ValueError(
            "environment: KNOWTUNING_HEADERS is no JSON object of texts; expected such as "
            '{"X-Team": "physics"}'
        )
    return found


def _value(variable: str, text: str, name: str, kind: type) -> Any:
    if name == "mode":
        if text not in ("online", "batch"):
            raise ValueError(f"environment: {variable} is {text!r}; expected online or batch")
        return text
    if name == "prices":
        return Path(text)
    if name == "ask_again":
        if text not in ("0", "1"):
            raise ValueError(f"environment: {variable} is {text!r}; expected 0 or 1")
        return text == "1"
    try:
        number = int(text) if kind is int else float(text)
    except ValueError:
        number = math.nan
    lowest = 0 if name in ("budget", "retries") else 1e-9
    if not number >= lowest:
        what = "a whole number" if kind is int else "a number"
        raise ValueError(f"environment: {variable} is {text!r}; expected {what} >= {lowest:g}")
    return number
