"""What the tests of the openai teacher share: a teacher at a server, quick to back off, and its tasks."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from knowtuning.config.teacher import TeacherParams
from knowtuning.teacher.openai import OpenAITeacher
from knowtuning.teacher.openai.limits import Limits
from knowtuning.teacher.tasks import Extract, Failure, Outcome, Rephrase, Revise, Task
from knowtuning.teacher.teachers import Setting
from tests.support.checkout import PROMPTS

KEY = "sk-test-5f1c9a7e-not-a-real-key"


def quick(**changes: Any) -> Limits:
    """Limits that make a test wait for milliseconds where a run would wait for seconds."""
    settings = {"backoff": 0.01, "backoff_cap": 0.03, "poll": 0.02, "progress": False}
    return Limits(**{**settings, **changes})


def params_for(url: str | None, **changes: Any) -> TeacherParams:
    settings = {
        "backend": "openai",
        "model": "stub",
        "base_url": url,
        "temperature": 0.0,
        "top_p": None,
        "max_tokens": 256,
        "seed": None,
        "extra": {},
    }
    return TeacherParams.model_validate({**settings, **changes})


def teacher_at(
    url: str | None,
    cache: Path,
    *,
    limits: Limits | None = None,
    key: str | None = KEY,
    most_failed: float = math.inf,
    **changes: Any,
) -> OpenAITeacher:
    environ = {"OPENAI_API_KEY": key} if key else {}
    setting = Setting(environ, cache, prompts=PROMPTS, most_failed=most_failed)
    return OpenAITeacher(params_for(url, **changes), setting, limits or quick())


def outcomes(teacher: OpenAITeacher, tasks: Iterable[Task]) -> list[Outcome]:
    """What a run brings, in order."""
    return [outcome for _, outcome in teacher.run(tasks)]


def usable(results: Iterable[Outcome]) -> bool:
    """Whether every row has a reply."""
    return not any(isinstance(outcome, Failure) for outcome in results)


def priced(folder: Path, prompt: float = 100, completion: float = 200, **changes: Any) -> Limits:
    """Limits with a price for the server's model, dollars per million tokens."""
    prices = folder / "prices.yaml"
    prices.write_text(f"stub: {{prompt: {prompt}, completion: {completion}}}\n")
    return quick(prices=prices, **changes)


def extracts(count: int, start: int = 0) -> list[Extract]:
    return [
        Extract(id=f"{number:05d}", question=f"What of {number}?", answer=f"It is {number}. It is odd.")
        for number in range(start, start + count)
    ]


def mixed(count: int) -> list[Extract | Rephrase | Revise]:
    """Tasks of three kinds in turn."""
    tasks: list[Extract | Rephrase | Revise] = []
    for number in range(count):
        name, question = f"{number:05d}", f"What of {number}?"
        if number % 3 == 0:
            tasks.append(Extract(id=name, question=question, answer=f"It is {number}. It is odd."))
        elif number % 3 == 1:
            tasks.append(Rephrase(id=name, question=question, text=f"It is {number}."))
        else:
            tasks.append(Revise(id=name, question=question, facts=(f"It is {number}.", "It is odd.")))
    return tasks
