"""What a run used: totals for the metrics, an estimate before it starts, a bar while it lasts."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from knowtuning.teacher.openai.prices import Price

if TYPE_CHECKING:
    from tqdm import tqdm


@dataclass
class Usage:
    """Totals of a run.

    paid: calls that were answered by the endpoint, corrections and unusable replies included.
    maybe_billed: calls without a reply that the endpoint may have charged for: timeouts, dropped
    connections, bodies that are no completion; their tokens are among the paid ones.
    cached: tasks answered from the store. failed: tasks without an acceptable reply.
    Tokens are the endpoint's own counts, or estimated where it gives none.
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
    def paid_cost(self) -> float:
        """What this run paid, US dollars; 0 where no price is known."""
        return self._cost(self.paid_prompt_tokens, self.paid_completion_tokens)

    def metrics(self) -> dict[str, Any]:
        """The totals for a metrics file: total, paid and cached, each with calls, tokens and cost."""
        paid = self._part(self.paid, self.paid_prompt_tokens, self.paid_completion_tokens)
        cached = self._part(self.cached, self.cached_prompt_tokens, self.cached_completion_tokens)
        total = {name: round(paid[name] + cached[name], 6) for name in paid}
        counts = {"failed": self.failed, "maybe_billed": self.maybe_billed}
        return {"total": total, "paid": paid, "cached": cached, **counts}

    def _part(self, calls: int, prompt_tokens: int, completion_tokens: int) -> dict[str, int | float]:
        cost = round(self._cost(prompt_tokens, completion_tokens), 6)
        return {
            "calls": calls,
            "prompt_tokens": prompt_tokens,
            "completion_tokens": completion_tokens,
            "cost": cost,
        }

    def _cost(self, prompt_tokens: int, completion_tokens: int) -> float:
        return self.price.of(prompt_tokens, completion_tokens) if self.price else 0.0


@dataclass(frozen=True)
class Estimate:
    """What a run will take. Tokens: prompts by four bytes a token, replies at their limit."""

    tasks: int
    cached: int
    calls: int
    prompt_tokens: int
    completion_tokens: int
    price: Price | None

    def __str__(self) -> str:
        tokens = f"about {self.prompt_tokens} prompt and at most {self.completion_tokens} reply tokens"
        cost = "price unknown"
        if self.price is not None:
            cost = f"at most ${self.price.of(self.prompt_tokens, self.completion_tokens):.2f}"
        return f"{self.tasks} tasks: {self.cached} cached, {self.calls} calls to make, {tokens}, {cost}"


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
        usage = self._usage
        self._bar.set_postfix_str(
            f"cached {usage.cached}, failed {usage.failed}, "
            f"tokens {usage.paid_prompt_tokens + usage.paid_completion_tokens}, ${usage.paid_cost:.4f}",
            refresh=False,
        )
        self._bar.update(done)

    def close(self) -> None:
        """End the bar."""
        self._bar.close()
