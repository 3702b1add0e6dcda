"""The reference pages are what the schemas say."""

from __future__ import annotations

from typing import Any

import pytest

from knowtuning import reference
from knowtuning.config.schema import Params
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
    assert reference.may_be(fields["train_kc.loss"]) == "`dpo` or `dpo_mean` or `ipo`"
    assert reference.may_be(fields["prepare.drop"]) == "list of `link_list`, `shared_opening`"
    assert reference.may_be(fields["seed"]) == "whole number, ≥ 0"


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
