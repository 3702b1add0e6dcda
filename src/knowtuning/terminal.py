"""What the commands share: where they print, no control character of any record, and errors in one line."""

from __future__ import annotations

import io
import os
import shutil
import sys
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

# Turn the direction of text round; of the other format characters some scripts need a few.
_TURNING = set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def clean(text: str) -> str:
    """A text with its control characters spelt out (ESC is \\x1b); line breaks and tabs stay."""
    return "".join(char if char in "\n\t" or not _controls(char) else _spelt(char) for char in text)


def _controls(char: str) -> bool:
    return unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp") or char in _TURNING


def _spelt(char: str) -> str:
    return char.encode("unicode-escape").decode("ascii")


def screen() -> Console:
    """Standard output, which takes colours where it is a terminal and NO_COLOR is not set."""
    from rich.console import Console

    return Console(width=shutil.get_terminal_size((100, 24)).columns, tab_size=4, highlight=False)


def run(main: Callable[[], None]) -> None:
    """Run a command; what a user can mend ends in one line on stderr and exit status 1."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        main()
        sys.stdout.flush()
    except BrokenPipeError:
        # As under `| head`: who reads has enough. Python would complain once more when it closes the stream.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    except (ValueError, OSError) as error:
        # Paths count from there: what is not found elsewhere need not be made.
        elsewhere = not Path("params.yaml").is_file()
        root = f"; {Path.cwd()} has no params.yaml: go to the repository root" if elsewhere else ""
        sys.stderr.write(f"error: {' '.join(str(error).split())}{root}\n")
        raise SystemExit(1) from None
