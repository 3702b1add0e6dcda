"""Imports of large libraries without what they bring along only where it is installed."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def importing(*, without: tuple[str, ...] = ()) -> Iterator[None]:
    """Inside, the packages `without` seem not to be installed, but for those imported already.

    For imports alone: a library that finds such a package missing goes without it for good. Nothing looks
    for garbage meanwhile, since modules are none.
    """
    absent = [package for package in without if package not in sys.modules]
    collected = gc.isenabled()
    sys.modules.update(dict.fromkeys(absent))  # type: ignore[arg-type]  # None: the import system's sign
    gc.disable()
    try:
        yield
    finally:
        if collected:
            gc.enable()
        for package in absent:
            del sys.modules[package]
