"""Tables of named entries: what a reader varies is one entry in one of them (docs/extend.md)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

T = TypeVar("T")


def entry(table: Mapping[str, T], name: object, what: str) -> T:
    """The entry of a name. Raises ValueError, in one line, for a name that the table does not have.

    what: what is named, for the message: "aspect", or the params key where the name stands.
    """
    if not isinstance(name, str) or name not in table:
        raise ValueError(f"{what} is {name!r}; expected one of {', '.join(table)}")
    return table[name]


def known(table: Mapping[str, object], name: str) -> str:
    """`name`, checked for a params file, which says the key and the value found itself."""
    if name not in table:
        raise ValueError(f"one of {', '.join(table)}")
    return name
