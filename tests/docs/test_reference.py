"""The reference pages are what the schemas say."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel

from knowtuning import reference
from knowtuning.config.schema import Params
from knowtuning.core import records
from tests.support.checkout import ROOT


@pytest.mark.parametrize("name", ["params.md", "records.md"])
def test_the_page_is_current(name: str) -> None:
    path = ROOT / "docs" / name
    assert path.read_text() == reference.pages(ROOT)[path], "run: make docs"


def test_every_key_has_a_meaning() -> None:
    without = [key for key, field in reference.leaves(Params) if not field.description]
    assert without == []


def test_the_names_of_a_table_are_what_a_key_may_be() -> None:
    fields = dict(reference.leaves(Params))
    assert reference.choices(fields["train_kc.loss"]) == "`dpo` or `dpo_mean` or `ipo`"
    assert reference.choices(fields["prepare.drop"]) == "list of `link_list`, `shared_opening`"
    assert reference.choices(fields["seed"]) == ""


def test_every_record_is_on_the_page() -> None:
    kinds = {k for k in vars(records).values() if isinstance(k, type) and issubclass(k, BaseModel)}
    assert kinds - {records.Record, records.RecordPart, BaseModel} == set(reference.RECORDS)


@pytest.mark.parametrize(
    ("annotation", "text"),
    [
        (int | None, "whole number or null"),
        (list[str] | None, "list of text or null"),
        (dict[str, Any], "mapping"),
        (Params.model_fields["teacher"].annotation, "TeacherParams"),
    ],
)
def test_kinds(annotation: Any, text: str) -> None:
    assert reference.kind(annotation) == text
