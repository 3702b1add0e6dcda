"""Reading of params.yaml: what its strict models are made of, and the keys that many stages share."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from knowtuning.core.storage import open_text

Seed = Annotated[int, Field(ge=0, description="seed of every random choice")]
Share = Annotated[float, Field(ge=0, le=1)]
Template = Literal["bare", "plain", "alpaca", "chat"]


class Section(BaseModel):
    """A section of params.yaml: strict types, no unknown keys, immutable."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class PromptParams(Section, extra="ignore"):
    """How a question becomes a prompt: what answering reads of the section `model`."""

    template: Template = Field(
        description="prompt template: bare (the question alone), plain (Question: ... Answer:), "
        "alpaca (the released scripts) or chat (the tokenizer's own)"
    )
    template_args: dict[str, Any] = Field(
        description="variables for the tokenizer's own template, such as {enable_thinking: false}"
    )


class ModelParams(PromptParams, extra="forbid"):
    """How a question becomes model input: in scoring, training and prediction."""

    max_length: int = Field(
        ge=8, description="longest prompt and completion together (tokens); 1024 in the released scripts"
    )


class Selection(Section, extra="ignore"):
    """The keys one stage reads, out of the whole file; keys of other stages are left alone."""


S = TypeVar("S", bound=BaseModel)

# The user's own files: a dependency of every stage that reads some.
WATCHED = Path("data/raw")


def check_watched(paths: Mapping[str, str | None]) -> None:
    """Raise ValueError where a path of params.yaml, by its key, is one that DVC would not see change."""
    for key, value in paths.items():
        if value is None:
            continue
        path = Path(os.path.normpath(value))
        if WATCHED not in path.parents:
            raise ValueError(
                f"params.yaml: {key} is {value!r}, where DVC would not see a change; expected a path inside "
                f"{WATCHED}/: move it there (or `cp -rl`, which takes no space)"
            )
        for part in (path, *path.parents[: -len(WATCHED.parents) - 1]):
            if part != WATCHED and part.is_symlink() and part.is_dir():
                raise ValueError(
                    f"params.yaml: {key} is {value!r}, and {part} is a link to a folder, which DVC does not "
                    "follow; expected the folder itself: move it there (or `cp -rl`, which takes no space)"
                )


def local(value: str | None) -> str | None:
    """A hub id or a path, if it is a path: one that exists here, or is spelt as an id cannot be."""
    if value is None:
        return None
    is_path = value.startswith((".", "/", "~")) or value.count("/") > 1
    return value if is_path or Path(value).exists() else None


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML 1.2 mapping (so that 3e-05, as DVC writes it, is a number)."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        with open_text(path) as stream:
            value = YAML(typ="safe", pure=True).load(stream.read())
    except FileNotFoundError as error:
        raise ValueError(f"{path}: not found; run the stage from the repository root") from error
    except YAMLError as error:
        raise ValueError(f"{path}: not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(value, dict):
        raise ValueError(f"{path}: found {type(value).__name__}, expected a mapping of sections")
    return value


def load(path: Path, model: type[S]) -> S:
    """The part of params.yaml that `model` describes. Raises ValueError in one line, with key and value."""
    try:
        return model.model_validate(read_yaml(path))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        if first["type"] == "missing":
            raise ValueError(f"{path}: {key} is missing; expected a value there") from error
        if first["type"] == "extra_forbidden":
            raise ValueError(f"{path}: {key} is not a known key; check its spelling") from error
        message = first["msg"].removeprefix("Input should be ").removeprefix("Value error, ")
        if first["type"] == "model_type":
            message = "a mapping of its keys"
        raise ValueError(f"{path}: {key} is {first['input']!r}; expected {message}") from error
