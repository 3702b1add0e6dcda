"""What the commands share: where they print, no control character of any record, and errors in one line."""

from __future__ import annotations

import io
import os
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

# Those of Unicode but for line break and tab, surrogates, separators of lines, and what turns the direction
# of text round; of the other format characters some scripts need a few.
_CONTROLS = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\u2028-\u202e\u2066-\u2069]")


def clean(text: str) -> str:
    """A text with its control characters spelt out (ESC is \\x1b); line breaks and tabs stay."""
    return _CONTROLS.sub(lambda char: char[0].encode("unicode-escape").decode("ascii"), text)


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
