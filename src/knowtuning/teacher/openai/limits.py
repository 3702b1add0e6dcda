"""How fast, how long and for how much money the teacher may be called, and what it has cost so far.

None of the limits changes a reply, so none is a tracked parameter: stages read them from the environment.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    StringConstraints,
    TypeAdapter,
    ValidationError,
)
from pydantic.dataclasses import dataclass as validated

from knowtuning.core.params import read_yaml

OVERHEAD = 512  # tokens that an endpoint adds to a prompt at most: roles, its template, the reply's schema
PRICES = Path(__file__).with_name("prices.yaml")  # OpenAI's list prices, dated
BATCH_SHARE = 0.5  # what a batch costs of online calls
_DATED = re.compile(r"-\d{4}(-\d{2}-\d{2})?$")
# What can be sent: the client would fail at anything else behind each call, and take it for billed.
_KEY = re.compile(r"[!#-&(-_a-~]*")  # printable ASCII but for blanks and quotes
_HeaderName = Annotated[str, StringConstraints(pattern=r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+$")]
_HeaderValue = Annotated[str, StringConstraints(pattern=r"^([!-~]([ -~]*[!-~])?)?$")]


class TeacherError(ValueError):
    """The run cannot go on; everything answered so far is in the store and is not paid again."""


@validated(frozen=True)
class Limits:
    """Limits of one run. Times in seconds, money in US dollars."""

    mode: Literal["online", "batch"] = "online"  # batch: cheaper and slower, the same replies
    concurrency: PositiveInt = 16  # calls in flight at most
    rpm: PositiveFloat = math.inf  # requests a minute
    tpm: PositiveFloat = math.inf  # tokens a minute
    budget: float = Field(default=math.inf, ge=0)  # of all runs that one command of the shell starts
    prices: Path | None = None  # a price table to use instead of ours
    timeout: PositiveFloat = 120.0  # of one call
    retries: NonNegativeInt = 6  # repetitions of a call after 5xx, timeouts and dropped bodies
    patience: float = 900.0  # waiting of one call under 429, in all
    backoff: float = 0.5  # bound of the first pause; it doubles, and each pause is drawn evenly from 0 to it
    backoff_cap: float = 30.0  # bound of the longest one
    give_up_after: int = 20  # rows without a usable reply, in a row, before the run stops
    ask_again: bool = False  # buy replies again that an earlier run found unusable
    preview: NonNegativeInt | None = None  # rows that are asked for and shown before the run stops
    lookahead: PositiveInt = 2000  # tasks read ahead of the oldest unanswered one
    batch_size: PositiveInt = 20000  # calls in one batch
    poll: float = 0.5  # pause between looks at a call that another process is making
    batch_poll: float = 30.0  # pause between looks at a batch
    progress: bool = True


# Environment variable -> field. A variable that is absent or empty leaves the default.
_SET = ("concurrency", "rpm", "tpm", "budget", "prices", "timeout", "retries", "ask_again", "preview")
VARIABLES = {"KNOWTUNING_TEACHER_MODE": "mode"} | {f"KNOWTUNING_{field.upper()}": field for field in _SET}


def limits_from_environment(environ: Mapping[str, str]) -> Limits:
    """Limits with the variables of VARIABLES applied. Raises ValueError naming a bad variable."""
    texts = {field: environ.get(variable, "").strip() for variable, field in VARIABLES.items()}
    try:
        return TypeAdapter(Limits).validate_python({field: text for field, text in texts.items() if text})
    except ValidationError as error:
        first = error.errors()[0]
        variable = next(name for name, field in VARIABLES.items() if field == first["loc"][0])
        expected = first["msg"].removeprefix("Input should be ")
        raise ValueError(f"environment: {variable} is {first['input']!r}; expected {expected}") from error


def key_from_environment(environ: Mapping[str, str], name: str) -> str | None:
    """The key that a variable holds; None where it is empty. Raises ValueError, the key not shown."""
    key = environ.get(name, "")
    if not _KEY.fullmatch(key):
        raise ValueError(
            f"environment: {name} holds white space, quotes or letters that no key has, such as the line end "
            "of the file it was read from; expected the key alone"
        )
    return key or None


def headers_from_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Further headers of every call, from KNOWTUNING_HEADERS. Raises ValueError, the values not shown."""
    text = environ.get("KNOWTUNING_HEADERS", "").strip() or "{}"
    try:
        return TypeAdapter(dict[_HeaderName, _HeaderValue]).validate_json(text)
    except ValidationError:
        wrong = "environment: KNOWTUNING_HEADERS is no JSON object of texts in ASCII, each on one line"
        raise ValueError(f'{wrong}; expected such as {{"X-Team": "physics"}}') from None


@validated(frozen=True)
class Price:
    """US dollars per million tokens."""

    prompt: float = Field(ge=0, allow_inf_nan=False)
    completion: float = Field(ge=0, allow_inf_nan=False)

    def of(self, prompt_tokens: float, completion_tokens: float) -> float:
        """What these tokens cost, US dollars."""
        return (prompt_tokens * self.prompt + completion_tokens * self.completion) / 1e6


def price_of(model: str, table: Path | None, *, official: bool, batch: bool = False) -> Price | None:
    """The price of a model, dated names included; None where the table does not know it.

    table: YAML or JSON, `{model: {prompt: …, completion: …}}`, used instead of PRICES. official: the endpoint
    is OpenAI's own; PRICES holds nowhere else. Raises ValueError naming the entry that is wrong.
    """
    expected = "expected {model: {prompt: …, completion: …}}, US dollars >= 0 per million tokens"
    try:
        entries = read_yaml(table or PRICES) if table or official else {}
    except (OSError, ValueError) as error:
        raise ValueError(f"environment: KNOWTUNING_PRICES is {str(table)!r} ({error}); {expected}") from error
    try:
        prices = TypeAdapter(dict[str, Price]).validate_python(entries)
    except ValidationError as error:
        wrong = str(error.errors()[0]["loc"][0])
        raise ValueError(f"{table}: {wrong}: found {entries.get(wrong, wrong)!r}; {expected}") from error
    price, share = prices.get(model) or prices.get(_DATED.sub("", model)), BATCH_SHARE if batch else 1.0
    return price and Price(price.prompt * share, price.completion * share)


@dataclass
class Usage:
    """Totals of a run. Tokens are the endpoint's own counts, or estimated where it gives none."""

    paid: int = 0  # calls that the endpoint answered, corrections and unusable replies included
    maybe_billed: int = 0  # calls without a reply that may have been charged for; their tokens are paid ones
    cached: int = 0  # tasks answered from the store
    failed: int = 0  # tasks without a usable reply
    paid_prompt_tokens: int = 0
    paid_completion_tokens: int = 0
    cached_prompt_tokens: int = 0
    cached_completion_tokens: int = 0
    price: Price | None = None

    @property
    def paid_cost(self) -> float | None:
        """What this run paid, US dollars; None where no price is known."""
        return self.price.of(self.paid_prompt_tokens, self.paid_completion_tokens) if self.price else None

    def __str__(self) -> str:
        cost = "price unknown" if self.paid_cost is None else f"${self.paid_cost:.4f}"
        tokens = self.paid_prompt_tokens + self.paid_completion_tokens
        return f"cached {self.cached}, failed {self.failed}, tokens {tokens}, {cost}"

    def metrics(self) -> dict[str, Any]:
        """The totals for a metrics file: total, paid and cached, each with calls, tokens and cost."""
        paid = (self.paid, self.paid_prompt_tokens, self.paid_completion_tokens)
        cached = (self.cached, self.cached_prompt_tokens, self.cached_completion_tokens)
        total = tuple(map(sum, zip(paid, cached, strict=True)))
        metrics: dict[str, Any] = {}
        for name, (calls, prompt, completion) in {"total": total, "paid": paid, "cached": cached}.items():
            cost = round(self.price.of(prompt, completion), 6) if self.price else None
            tokens = {"prompt_tokens": prompt, "completion_tokens": completion}
            metrics[name] = {"calls": calls, **tokens, "cost": cost}
        return metrics | {"failed": self.failed, "maybe_billed": self.maybe_billed}


@dataclass(frozen=True)
class CallEstimate:
    """What a run will take."""

    tasks: int
    calls: int
    prompt_bytes: int  # of the prompts that are sent
    reply_tokens: int  # the limits of all first replies
    max_tokens: int  # the limit of one, once a reply has been cut off
    price: Price | None

    def __str__(self) -> str:
        cost = "price unknown (KNOWTUNING_PRICES names it)"
        if self.price is not None:
            likely = self.price.of(self.prompt_bytes / 4, self.reply_tokens)
            # Every reply cut off at max_tokens, asked for with twice that, and once more with that shown; a
            # token is a byte.
            replies = self.calls * self.max_tokens
            sent = 3 * (self.prompt_bytes + self.calls * OVERHEAD) + 2 * replies
            most = self.price.of(sent, 5 * replies)
            cost = f"${likely:.2f} if each reply takes all of it, at most ${most:.2f} with corrections"
        return (
            f"{self.tasks} tasks: {self.tasks - self.calls} cached, {self.calls} calls to make, about "
            f"{self.prompt_bytes // 4} prompt and {self.reply_tokens} reply tokens, {cost}"
        )
