"""pyproject.toml and requirements.txt name the same packages, and the package has all its files."""

from __future__ import annotations

import tomllib
from fnmatch import fnmatch

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.support.checkout import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
WANTED: dict[str, list[str]] = {
    "run time": PROJECT["project"]["dependencies"],
    "development": PROJECT["project"]["optional-dependencies"]["dev"],
}


def parsed(lines: list[str]) -> dict[str, Requirement]:
    result = [Requirement(line) for line in lines]
    return {canonicalize_name(each.name): each for each in result}


def pinned() -> dict[str, dict[str, Requirement]]:
    """The pins of requirements.txt, above its line `# development` and below."""
    above, below = (ROOT / "requirements.txt").read_text(encoding="utf-8").split("# development\n")
    parts = {"run time": above, "development": below}
    return {
        part: parsed([line for line in text.splitlines() if line and not line.startswith("#")])
        for part, text in parts.items()
    }


@pytest.mark.parametrize("part", WANTED)
def test_every_pin_is_in_the_range_of_its_package(part: str) -> None:
    wanted, pins = parsed(WANTED[part]), pinned()[part]
    assert set(wanted) == set(pins)
    for name, pin in pins.items():
        (exact,) = pin.specifier
        assert exact.operator == "==", name
        assert wanted[name].specifier.contains(exact.version), name
        assert wanted[name].extras == pin.extras, name


def test_a_range_is_open_above_its_lower_bound() -> None:
    extras = PROJECT["project"]["optional-dependencies"]
    assert set(extras) == {"dev", "gpu", "real"}
    for line in (*PROJECT["project"]["dependencies"], *(line for group in extras.values() for line in group)):
        operators = {each.operator for each in Requirement(line).specifier}
        assert operators in ({">="}, {">=", "<"}), line


def test_constraints_pin_what_requirements_pin() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    constraints = parsed([line for line in lines if line and not line.startswith("#")])
    for pins in pinned().values():
        assert {n: str(constraints[n].specifier) for n in pins} == {
            n: str(p.specifier) for n, p in pins.items()
        }


def test_every_file_of_the_package_is_installed_with_it() -> None:
    patterns = PROJECT["tool"]["setuptools"]["package-data"]["*"]
    files = [path for path in (ROOT / "src/knowtuning").rglob("*") if path.is_file()]
    data = [path.name for path in files if path.suffix not in (".py", ".pyc")]
    assert data
    assert [name for name in data if not any(fnmatch(name, pattern) for pattern in patterns)] == []
