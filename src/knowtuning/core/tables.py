"""Tables of named entries: what a reader varies is one entry in one of them (docs/extend.md)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

from pydantic import AfterValidator

T = TypeVar("T")
K = TypeVar("K")


def entry(table: Mapping[str, T], name: object, what: str) -> T:
    """The entry of a name. Raises ValueError, in one line, for a name that the table does not have.

    what: what is named, for the message: "aspect", or the params key where the name stands.
    """
    if not isinstance(name, str) or name not in table:
        raise ValueError(f"{what} is {name!r}; expected one of {', '.join(table)}")
    return table[name]


def grouped(rows: Iterable[T], key: Callable[[T], K]) -> dict[K, list[T]]:
    """The rows by their keys, both in the order in which they come."""
    groups: dict[K, list[T]] = {}
    for row in rows:
        groups.setdefault(key(row), []).append(row)
    return groups


def name_in(table: Mapping[str, object]) -> AfterValidator:
    """The check of a params key whose value is a name of the table."""

    def check(name: str) -> str:
        if name not in table:
            raise ValueError(f"one of {', '.join(table)}")
        return name

    return AfterValidator(check)


def names_in(table: Mapping[str, object]) -> AfterValidator:
    """The check of a params key whose value is a list of names of the table, none of them twice."""

    def check(names: list[str]) -> list[str]:
        if not set(names) <= table.keys() or len(set(names)) < len(names):
            raise ValueError(f"some of {', '.join(table)}, each once")
        return names

    return AfterValidator(check)
