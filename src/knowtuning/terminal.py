"""What ask and look print: columns, colour on a terminal alone, and no control character of any record."""

from __future__ import annotations

import io
import itertools
import os
import shutil
import sys
import textwrap
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

CODES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33"}
# Turn the direction of text round; of the other format characters some scripts need a few.
_TURNING = set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def clean(text: str) -> str:
    """A text with its control characters spelt out (ESC is \\x1b); line breaks and tabs stay."""
    return "".join(char if char in "\n\t" or not _controls(char) else _spelt(char) for char in text)


def _controls(char: str) -> bool:
    return unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp") or char in _TURNING


def _spelt(char: str) -> str:
    return char.encode("unicode-escape").decode("ascii")


@dataclass(frozen=True)
class Screen:
    """Where text goes. colour: whether it takes colours. width: columns of a line."""

    colour: bool = False
    width: int = 100

    def paint(self, text: str, *styles: str) -> str:
        """The text in styles of CODES; as it is where there is no colour."""
        if not self.colour or not styles or not text:
            return text
        return f"\033[{';'.join(CODES[style] for style in styles)}m{text}\033[0m"


def screen() -> Screen:
    """That of standard output. NO_COLOR (https://no-color.org) turns colours off."""
    colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    return Screen(colour, shutil.get_terminal_size((100, 24)).columns)


def cells(text: str) -> int:
    """Columns that a line takes: two for a wide character, none for one that sits on another."""
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1
        for char in text
    )


def wrapped(text: str, width: int, indent: str = "") -> list[str]:
    """The lines of a text, none wider than `width` columns; those that go on begin with `indent`."""
    lines = []
    for line in clean(text).expandtabs(4).splitlines() or [""]:
        # Wide characters: as if all were.
        room = max(width // 2 if cells(line) > len(line) else width, len(indent) + 1)
        lines += textwrap.wrap(line, room, subsequent_indent=indent, break_on_hyphens=False) or [""]
    return lines


def beside(columns: Sequence[Sequence[tuple[str, str]]], width: int, to: Screen) -> list[str]:
    """Columns of (line, style) side by side, each `width` wide and two apart; style "" is plain."""
    rows = []
    for row in itertools.zip_longest(*columns, fillvalue=("", "")):
        parts = [to.paint(text, *filter(None, [style])) + " " * (width - cells(text)) for text, style in row]
        rows.append("  ".join(parts).rstrip())
    return rows


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
