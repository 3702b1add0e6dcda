"""Parameters of the teacher: what determines its replies, and nothing else."""

from __future__ import annotations

import re
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import Field, JsonValue, field_validator

from knowtuning.core.params import Section, Seed, Selection, Share
from knowtuning.core.tables import name_in
from knowtuning.teacher.teachers import TEACHERS

MaxRejected = Annotated[
    Share,
    Field(
        description="largest share of rows that may be rejected before the stage fails (0..1); rows that the "
        "teacher leaves out do not count"
    ),
]

# Fields of a request that have a parameter, and those that would change the form of the reply.
_RESERVED = frozenset(
    {"model", "messages", "temperature", "top_p", "seed", "max_tokens", "max_completion_tokens"}
    | {"response_format", "stream", "n"}
)


class Endpoint(Section):
    """A model at an OpenAI-compatible endpoint; speed, money, delivery: see teacher/openai/limits.py."""

    model: str = Field(min_length=1, description="model name at the endpoint (openai backend)")
    base_url: str | None = Field(
        description="address of the endpoint, with its /v1; null: OpenAI's own (openai backend)"
    )
    temperature: float | None = Field(
        ge=0, le=2, description="sampling temperature (0..2); null: not sent, for models that refuse it"
    )
    top_p: float | None = Field(gt=0, le=1, description="nucleus sampling mass (0..1]; null: not sent")
    max_tokens: int = Field(
        ge=16,
        description="greatest limit of a reply (tokens); that of a short input is lower, and a reply that is "
        "cut off is asked for once with twice this",
    )
    seed: int | None = Field(description="sampling seed sent to the endpoint; null: not sent")
    extra: dict[str, JsonValue] = Field(
        description="further fields of the request, such as {reasoning_effort: low}; sent as they are, and "
        "part of what a reply is kept by"
    )

    @field_validator("extra")
    @classmethod
    def _check_extra(cls, value: dict[str, JsonValue]) -> dict[str, JsonValue]:
        reserved = sorted(_RESERVED & value.keys())
        if reserved:
            raise ValueError(f"fields that the teacher does not set itself: look at {reserved[0]}")
        return value

    @field_validator("base_url")
    @classmethod
    def _check_address(cls, value: str | None) -> str | None:
        if value is None:
            return value
        try:
            parts = urlsplit(value)
            fit = parts.scheme in ("http", "https") and parts.hostname and (parts.port or 1)
        except ValueError:  # such as a port that is no number
            fit = False
        if not fit or not value.isascii() or re.search(r"\s", value):
            raise ValueError("an address such as http://localhost:8000/v1, or null")
        if parts.username or parts.password or parts.query:
            raise ValueError("an address without a key in it; keys come from OPENAI_API_KEY")
        return value.rstrip("/")


class TeacherParams(Endpoint):
    """The teacher LLM."""

    backend: Annotated[str, name_in(TEACHERS)] = Field(
        description="world: exact, for prepare.source world alone; english: rules for English, no network; "
        "openai: any OpenAI-compatible endpoint; teacher/teachers.py has them"
    )


class TeacherStage(Selection):
    """What every stage with a teacher reads beside its own section."""

    seed: Seed
    teacher: TeacherParams
