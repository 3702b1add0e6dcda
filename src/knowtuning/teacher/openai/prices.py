"""Money: a small price table, what a call costs, and a budget that holds."""

from __future__ import annotations

import asyncio
import math
import re
from dataclasses import dataclass, field
from pathlib import Path

from knowtuning.core.params import read_yaml
from knowtuning.teacher.openai.errors import TeacherError


@dataclass(frozen=True)
class Price:
    """US dollars per million tokens."""

    prompt: float
    completion: float

    def of(self, prompt_tokens: float, completion_tokens: float) -> float:
        """What these tokens cost, US dollars."""
        return (prompt_tokens * self.prompt + completion_tokens * self.completion) / 1e6


# List prices of online calls at OpenAI; they change, so a table of the user's own replaces them.
PRICES = {
    "gpt-3.5-turbo": Price(0.50, 1.50),
    "gpt-4o": Price(2.50, 10.00),
    "gpt-4o-mini": Price(0.15, 0.60),
    "gpt-4.1": Price(2.00, 8.00),
    "gpt-4.1-mini": Price(0.40, 1.60),
    "gpt-4.1-nano": Price(0.10, 0.40),
}
BATCH_DISCOUNT = 0.5  # a batch costs half of online calls
_DATED = re.compile(r"-\d{4}(-\d{2}-\d{2})?$")


def price_of(model: str, table: Path | None, *, official: bool, batch: bool = False) -> Price | None:
    """The price of a model, dated names included; None where the table does not know it.

    table: YAML or JSON, `{model: {prompt: …, completion: …}}` in US dollars per million tokens, used
    instead of PRICES. official: the endpoint is OpenAI's own; PRICES holds nowhere else.
    batch: the price by the Batch API, half of the table's.
    Raises ValueError naming the entry that is wrong.
    """
    prices = _read(table) if table is not None else PRICES if official else {}
    found = prices.get(model) or prices.get(_DATED.sub("", model))
    if found is None or not batch:
        return found
    return Price(found.prompt * BATCH_DISCOUNT, found.completion * BATCH_DISCOUNT)


def _read(table: Path) -> dict[str, Price]:
    prices = {}
    for model, entry in read_yaml(table).items():
        try:
            price = Price(float(entry["prompt"]), float(entry["completion"]))
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"{table}: {model}: found {entry!r}; expected prompt and completion in US dollars "
                "per million tokens"
            ) from error
        if not (0 <= price.prompt < math.inf and 0 <= price.completion < math.inf):
            raise ValueError(f"{table}: {model}: found {entry!r}; expected prices >= 0")
        prices[str(model)] = price
    return prices


@dataclass
class Budget:
    """What may be spent. A call reserves the most it can cost before it is made, so the limit holds."""

    limit: float
    price: Price | None
    spent: float = 0.0
    _reserved: float = 0.0
    _open: int = 0
    _settled: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        if self.price is None and self.limit < math.inf:
            raise ValueError(
                "KNOWTUNING_BUDGET is set but no price is known for the model at its endpoint; "
                "give one in a price table (KNOWTUNING_PRICES)"
            )

    async def reserve(self, prompt_bytes: int, max_tokens: int) -> float:
        """Set aside the most a call can cost: no text has more tokens than bytes.

        Waits for calls in flight to cost less than was set aside for them. Raises TeacherError when the
        next call may still cost more than is left.
        """
        most = self.price.of(prompt_bytes, max_tokens) if self.price else 0.0
        while self.spent + self._reserved + most > self.limit:
            if not self._open:
                raise TeacherError(
                    f"budget: ${self.spent:.6f} of ${self.limit:.6f} is spent and the next call may cost "
                    f"${most:.6f}; what was paid is kept, raise KNOWTUNING_BUDGET and run again to go on"
                )
            self._settled.clear()
            await self._settled.wait()
        self._open += 1
        self._reserved += most
        return most

    def settle(self, reserved: float, prompt_tokens: int, completion_tokens: int) -> None:
        """Turn what was set aside for a call into what it cost."""
        self._open -= 1
        # With nothing open exactly nothing is set aside, whatever rounding has left.
        self._reserved = self._reserved - reserved if self._open else 0.0
        self.spent += self.price.of(prompt_tokens, completion_tokens) if self.price else 0.0
        self._settled.set()
