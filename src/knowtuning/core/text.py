"""Texts compared."""

from __future__ import annotations


def normal_form(text: str) -> str:
    """Text folded for comparison: case, white space and a final full stop do not count."""
    return " ".join(text.casefold().split()).rstrip(".")
