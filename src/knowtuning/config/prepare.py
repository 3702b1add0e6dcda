"""Parameters of the stage `prepare`: where questions and answers come from, and how they are split."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, StringConstraints, model_validator

from knowtuning.core.params import Section, Seed, Selection, Share, local
from knowtuning.core.tables import name_in, names_in
from knowtuning.data.boilerplate import KINDS
from knowtuning.data.sources import SOURCES
from knowtuning.world.settings import WorldParams

# It becomes the name of a file, and names columns of tables.
TestName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")]


class ColumnParams(Section):
    """Which columns of a file or data set hold what."""

    question: str = Field(
        min_length=1,
        description="column of the question (alpaca: instruction); where it is missing, one called "
        "messages or conversations is read, as data/chat.py says",
    )
    context: str | None = Field(
        min_length=1,
        description="column of a text that a newline joins to the question (alpaca: input); null = none",
    )
    answer: str = Field(min_length=1, description="column of the reference answer (alpaca: output)")
    id: str | None = Field(
        min_length=1, description="column of an id unique in its split; null = ids made from the question"
    )

    @model_validator(mode="after")
    def _check_distinct(self) -> Self:
        named = [name for _, name in self if name is not None]
        if len(set(named)) < len(named):
            raise ValueError("a column of its own for each of question, context, answer and id")
        return self


class FileParams(Section):
    """Source `file`: .json (an array), .jsonl, .csv, each also with .gz, or .parquet."""

    train: str | None = Field(description="path of the training rows, from the repository root")
    valid: str | None = Field(description="path of the validation rows; null = drawn from train")
    test: str | None = Field(description="path of the test rows; null = drawn from train")
    columns: ColumnParams


class MedquadParams(Section):
    """Source `medquad_xml`: MedQuAD as published, one XML file a document."""

    path: str | None = Field(description="path of the folder or .zip that holds the XML files")
    types: list[str] | None = Field(
        min_length=1, description="types of question kept (the paper: [information]); null = all"
    )


class HubSplits(Section):
    """Names of the splits of a data set, in the syntax of its library (`train[:90%]` is one)."""

    train: str = Field(min_length=1, description="split of the training rows")
    valid: str | None = Field(description="split of the validation rows; null = drawn from train")
    test: str | None = Field(description="split of the test rows; null = drawn from train")


class HubParams(Section):
    """Source `hub`: a data set of the Hugging Face hub, or a local folder in the same form."""

    id: str | None = Field(description="id of the data set (owner/name), or path of a local folder")
    revision: str | None = Field(
        description="commit of the data set (a tag or branch can move); null only for a local folder"
    )
    name: str | None = Field(description="configuration of the data set; null = its only one")
    splits: HubSplits
    columns: ColumnParams


class LimitParams(Section):
    """At most so many rows of a split, those of lowest hash(seed, id): for smoke runs."""

    train: int | None = Field(ge=1, description="most training rows kept (count); null = all")
    valid: int | None = Field(ge=1, description="most validation rows kept (count); null = all")
    test: int | None = Field(ge=1, description="most test rows kept (count); null = all")


class SplitParams(Section):
    """Rows drawn from train for a split that the source does not have."""

    valid: int = Field(ge=1, description="validation rows drawn (count; released scripts: 100)")
    test: int = Field(ge=1, description="test rows drawn (count; released scripts: 200)")


class PrepareParams(Section):
    """Only the section of the chosen source is used."""

    source: Annotated[str, name_in(SOURCES)] = Field(
        description="where the data comes from: world, file, medquad_xml or hub; data/sources.py has them"
    )
    max_rejected: Share = Field(description="share of unusable rows in a split above which the stage fails")
    limit: LimitParams
    split: SplitParams
    tests: dict[TestName, str] = Field(
        description="further test sets: name -> path of a file with the columns of prepare.file.columns, "
        "where answers may be missing; each becomes data/prepared/tests/<name>.jsonl"
    )
    drop: Annotated[list[str], names_in(KINDS)] = Field(
        description="kinds of repeated boilerplate whose answers are left out, of link_list and "
        "shared_opening; data/boilerplate.py has them"
    )
    max_words: int | None = Field(
        ge=1,
        description="most words of an answer (count; a character of a script without spaces is one); rows "
        "with a longer one are left out; null = any",
    )
    world: WorldParams
    file: FileParams
    medquad_xml: MedquadParams
    hub: HubParams


def local_paths(params: PrepareParams) -> dict[str, str | None]:
    """The paths that the chosen source and the further test sets read, by params key."""
    tests = {f"prepare.tests.{name}": path for name, path in params.tests.items()}
    splits = {f"prepare.file.{split}": getattr(params.file, split) for split in ("train", "valid", "test")}
    of_source = {
        "file": splits,
        "medquad_xml": {"prepare.medquad_xml.path": params.medquad_xml.path},
        "hub": {"prepare.hub.id": local(params.hub.id)},
    }
    return of_source.get(params.source, {}) | tests


class TeacherChoice(Selection):
    """Which teacher the data is for."""

    backend: str


class PrepareStage(Selection):
    seed: Seed
    prepare: PrepareParams
    teacher: TeacherChoice


def check_teacher(backend: str, source: str) -> None:
    """Raise ValueError where the teacher cannot read the data; else extract finds out, after `base`."""
    if backend == "world" and source != "world":
        raise ValueError(
            f"params.yaml: teacher.backend is 'world', which reads the data of prepare.source world alone, "
            f"and prepare.source is {source!r}; set teacher.backend to english (rules, no key) or openai"
        )
