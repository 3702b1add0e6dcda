"""How fast, how long and for how much money the teacher may be called, and what it has cost so far.

None of the limits changes a reply, so none is a tracked parameter: stages read them from the environment.
"""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    TypeAdapter,
    ValidationError,
)
from pydantic.dataclasses import dataclass as validated

from knowtuning.core.params import read_yaml


class TeacherError(ValueError):
    """The run cannot go on; everything answered so far is in the store and is not paid again."""


@validated(frozen=True)
class Limits:
    """Limits of one run. Times in seconds, money in US dollars.

    mode: online calls, or the cheaper and slower Batch API (same keys, same replies).
    concurrency: calls in flight at most. rpm, tpm: requests and tokens a minute; inf: no limit.
    budget: spending at most, of all runs that one command of the shell starts; inf: no limit. prices: a price
    table to use instead of ours. timeout: of one call. connect_timeout: of reaching the endpoint.
    retries: repetitions of a call after 5xx, timeouts and dropped bodies. patience: total waiting of a
    call under 429. backoff, backoff_cap: first and longest pause; each is drawn evenly from 0 to its
    bound (full jitter), and the bound doubles.
    give_up_after: rows without a usable reply, in a row, before the run stops. ask_again: whether replies
    that an earlier run found unusable are bought again. preview: rows that are asked for and shown before the
    run stops; None: no preview. lookahead: tasks read ahead of the oldest unanswered one. batch_size: calls
    in one batch. poll: pause between looks at a batch or at a call that another process is making.
    """

    mode: Literal["online", "batch"] = "online"
    concurrency: PositiveInt = 16
    rpm: PositiveFloat = math.inf
    tpm: PositiveFloat = math.inf
    budget: NonNegativeFloat = math.inf
    prices: Path | None = None
    timeout: PositiveFloat = 120.0
    connect_timeout: float = 5.0
    retries: NonNegativeInt = 6
    patience: float = 900.0
    backoff: float = 0.5
    backoff_cap: float = 30.0
    give_up_after: int = 20
    ask_again: bool = False
    preview: NonNegativeInt | None = None
    lookahead: PositiveInt = 2000
    batch_size: PositiveInt = 20000
    poll: float = 0.5
    batch_poll: float = 30.0
    progress: bool = True


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
    "KNOWTUNING_PREVIEW": "preview",
}


def limits_from_environment(environ: Mapping[str, str]) -> Limits:
    """Limits with the variables of VARIABLES applied. Raises ValueError naming a bad variable."""
    texts = {variable: environ.get(variable, "").strip() for variable in VARIABLES}
    try:
        return TypeAdapter(Limits).validate_python(
            {VARIABLES[variable]: text for variable, text in texts.items() if text}
        )
    except ValidationError as error:
        first = error.errors()[0]
        variable = next(name for name in VARIABLES if VARIABLES[name] == first["loc"][0])
        expected = first["msg"].removeprefix("Input should be ")
        raise ValueError(f"environment: {variable} is {texts[variable]!r}; expected {expected}") from error


def headers_from_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Further headers of every call, from KNOWTUNING_HEADERS. Raises ValueError, the values not shown."""
    text = environ.get("KNOWTUNING_HEADERS", "").strip()
    try:
        headers = json.loads(text or "{}")
    except ValueError:
        headers = None
    if not isinstance(headers, dict) or not all(isinstance(value, str) for value in headers.values()):
        raise ValueError(
            "environment: KNOWTUNING_HEADERS is no JSON object of texts; expected such as "
            '{"X-Team": "physics"}'
        )
    return headers


@validated(frozen=True)
class Price:
    """US dollars per million tokens."""

    prompt: float = Field(ge=0, allow_inf_nan=False)
    completion: float = Field(ge=0, allow_inf_nan=False)

    def of(self, prompt_tokens: float, completion_tokens: float) -> float:
        """What these tokens cost, US dollars."""
        return (prompt_tokens * self.prompt + completion_tokens * self.completion) / 1e6


PRICES = Path(__file__).with_name("prices.yaml")  # OpenAI's list prices, dated
BATCH_DISCOUNT = 0.5  # a batch costs half of online calls
_DATED = re.compile(r"-\d{4}(-\d{2}-\d{2})?$")


def price_of(model: str, table: Path | None, *, official: bool, batch: bool = False) -> Price | None:
    """The price of a model, dated names included; None where the table does not know it.

    table: YAML or JSON, `{model: {prompt: …, completion: …}}` in US dollars per million tokens, used
    instead of PRICES. official: the endpoint is OpenAI's own; PRICES holds nowhere else.
    batch: the price by the Batch API, half of the table's.
    Raises ValueError naming the entry that is wrong.
    """
    prices = _read(table or PRICES) if table or official else {}
    price = prices.get(model) or prices.get(_DATED.sub("", model))
    if price is None or not batch:
        return price
    return Price(price.prompt * BATCH_DISCOUNT, price.completion * BATCH_DISCOUNT)


def _read(table: Path) -> dict[str, Price]:
    entries = read_yaml(table)
    try:
        return TypeAdapter(dict[str, Price]).validate_python(entries)
    except ValidationError as error:
        model = str(error.errors()[0]["loc"][0])
        raise ValueError(
            f"{table}: {model}: found {entries[model]!r}; expected prompt and completion in US dollars >= 0 "
            "per million tokens"
        ) from error


@dataclass
class Usage:
    """Totals of a run.

    paid: calls that were answered by the endpoint, corrections and unusable replies included.
    maybe_billed: calls without a reply that the endpoint may have charged for: timeouts, dropped
    connections, bodies that are no completion; their tokens are among the paid ones.
    cached: tasks answered from the store. failed: tasks without an acceptable reply.
    Tokens are the endpoint's own counts, or estimated where it gives none. Costs are US dollars, None where
    no price is known.
    """

    paid: int = 0
    maybe_billed: int = 0
    cached: int = 0
    failed: int = 0
    paid_prompt_tokens: int = 0
    paid_completion_tokens: int = 0
    cached_prompt_tokens: int = 0
    cached_completion_tokens: int = 0
    price: Price | None = None

    @property
    def paid_cost(self) -> float | None:
        """What this run paid."""
        return self.price.of(self.paid_prompt_tokens, self.paid_completion_tokens) if self.price else None

    def metrics(self) -> dict[str, Any]:
        """The totals for a metrics file: total, paid and cached, each with calls, tokens and cost."""
        paid = self._part(self.paid, self.paid_prompt_tokens, self.paid_completion_tokens)
        cached = self._part(self.cached, self.cached_prompt_tokens, self.cached_completion_tokens)
        total = self._part(*(paid[name] + cached[name] for name in list(paid)[:3]))
        counts = {"failed": self.failed, "maybe_billed": self.maybe_billed}
        return {"total": total, "paid": paid, "cached": cached, **counts}

    def _part(self, calls: int, prompt_tokens: int, completion_tokens: int) -> dict[str, Any]:
        cost = round(self.price.of(prompt_tokens, completion_tokens), 6) if self.price else None
        tokens = {"prompt_tokens": prompt_tokens, "completion_tokens": completion_tokens}
        return {"calls": calls, **tokens, "cost": cost}


@dataclass(frozen=True)
class Estimate:
    """What a run will take. prompt_bytes: of the prompts that are sent. reply_tokens: the limits of all first
    replies. max_tokens: that of one, once a reply has been cut off."""

    tasks: int
    cached: int
    calls: int
    prompt_bytes: int
    reply_tokens: int
    max_tokens: int
    price: Price | None

    @property
    def most(self) -> float:
        """The most it can cost, US dollars: every reply is cut off at max_tokens, then asked for with twice
        that, and once more with that reply shown; a token is a byte."""
        assert self.price is not None
        replies = self.calls * self.max_tokens
        sent = 3 * (self.prompt_bytes + self.calls * OVERHEAD) + 2 * replies
        return self.price.of(sent, 5 * replies)

    def __str__(self) -> str:
        replies = self.reply_tokens
        cost = "price unknown (KNOWTUNING_PRICES names it)"
        if self.price is not None:
            likely = self.price.of(self.prompt_bytes / 4, replies)
            cost = f"${likely:.2f} if each reply takes all of it, at most ${self.most:.2f} with corrections"
        return (
            f"{self.tasks} tasks: {self.cached} cached, {self.calls} calls to make, about "
            f"{self.prompt_bytes // 4} prompt and {replies} reply tokens, {cost}"
        )


OVERHEAD = 512  # tokens that an endpoint adds to a prompt at most: roles, its template, the reply's schema


class Progress:
    """A bar on stderr with done, cached, failed, tokens, spend and time left."""

    def __init__(self, usage: Usage, *, total: int | None, shown: bool) -> None:
        from tqdm import tqdm

        self._usage = usage
        self._bar: tqdm[Any] = tqdm(
            total=total, unit="task", file=sys.stderr, disable=not shown, mininterval=0.5, desc="teacher"
        )

    def say(self, line: str) -> None:
        """Print a line above the bar."""
        if not self._bar.disable:
            self._bar.write(line, file=sys.stderr)

    def advance(self, done: int) -> None:
        """Count `done` more tasks."""
        usage, cost = self._usage, self._usage.paid_cost
        tokens = usage.paid_prompt_tokens + usage.paid_completion_tokens
        spent = "price unknown" if cost is None else f"${cost:.4f}"
        line = f"cached {usage.cached}, failed {usage.failed}, tokens {tokens}, {spent}"
        self._bar.set_postfix_str(line, refresh=False)
        self._bar.update(done)

    def close(self) -> None:
        """End the bar."""
        self._bar.close()
