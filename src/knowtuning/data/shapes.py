"""What a file is that is not what its name says, with the way out."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

SEPARATORS = (";", "\t", "|")

# First bytes, what they are the first bytes of, and what to do.
_SIGNATURES = (
    (b"\x1f\x8b", "gzip bytes", "rename it to {gz}"),
    (b"PAR1", "a Parquet file", "rename it to {stem}.parquet"),
    (b"PK\x03\x04", "a zip file or an Excel workbook", "unpack it, or save the sheet as CSV in UTF-8"),
    (b"BZh", "bzip2 bytes", "unpack it with bunzip2"),
    (b"\xfd7zXZ", "xz bytes", "unpack it with unxz"),
    (b"\x28\xb5\x2f\xfd", "zstandard bytes", "unpack it with unzstd"),
    (b"\xd0\xcf\x11\xe0", "an old Excel workbook", "save the sheet as CSV in UTF-8"),
    (b"ARROW1", "an Arrow file", "save the table as Parquet"),
    (b"SQLite format 3", "an SQLite database", "export the table as CSV"),
    (b"%PDF", "a PDF file", "export the text as rows of JSONL or CSV"),
    (b"\x80\x04", "a Python pickle", "save the rows as JSONL"),
    (b"\x80\x05", "a Python pickle", "save the rows as JSONL"),
    (b"version https://git-lfs", "a Git LFS pointer in place of the file", "run `git lfs pull` where it is"),
)
_PAGE = re.compile(rb"\s*<(!doctype html|html)", re.IGNORECASE)
_KINDS = {".json": "a JSON array", ".jsonl": "JSONL", ".csv": "CSV", ".parquet": "Parquet"}

# Extensions that are not read, and what to do.
_OTHER_NAMES = {
    **dict.fromkeys((".ndjson", ".jsonlines"), "one object a line is JSONL: rename it to {stem}.jsonl"),
    **dict.fromkeys((".tsv", ".tab"), "save it with commas as {stem}.csv"),
    **dict.fromkeys((".xlsx", ".xls", ".ods"), "save the sheet as CSV in UTF-8"),
    ".zip": "unpack it",
    ".bz2": "unpack it with bunzip2",
    ".xz": "unpack it with unxz",
    ".zst": "unpack it with unzstd",
    **dict.fromkeys((".arrow", ".feather"), "save the table as Parquet"),
    ".pkl": "save the rows as JSONL",
}


def renamed(path: Path, extension: str) -> str:
    """The file's name with another extension; .gz stays behind it."""
    packed = path.suffix.lower() == ".gz"
    stem = path.with_suffix("") if packed else path
    return stem.with_suffix(extension + (".gz" if packed else "")).name


def unknown_extension(path: Path) -> str:
    """Why a file of this name is not read."""
    known = "expected .json, .jsonl, .csv (each also with .gz) or .parquet"
    way = _OTHER_NAMES.get(path.suffix.lower())
    return f"{path}: unknown extension; {known}" + (f"; {way.format(stem=path.stem)}" if way else "")


def check_head(path: Path, head: bytes, kind: str) -> None:
    """Raise ValueError where the first bytes are not those of a file of this kind (.json, .csv, ...)."""
    for first, what, way in _SIGNATURES:
        if head.startswith(first) and not (kind == ".parquet" and first == b"PAR1"):
            if path.suffix.lower() == ".gz":
                way = "unpack it and pack the file that it holds"
            way = way.format(gz=f"{path.name}.gz", stem=path.stem)
            raise ValueError(f"{path}: holds {what}, expected {_KINDS[kind]}; {way}")
    if _PAGE.match(head):
        raise ValueError(f"{path}: holds a web page, expected {_KINDS[kind]}; fetch the file itself again")
    json_head = re.match(rb'(\xef\xbb\xbf)?\s*(\[\s*)?\{\s*"', head)
    if kind in (".csv", ".parquet") and json_head:
        name = renamed(path, ".json" if json_head[2] else ".jsonl")
        raise ValueError(f"{path}: holds JSON, expected {_KINDS[kind]}; rename it to {name}")
    if kind in (".json", ".jsonl") and re.match(rb"(\xef\xbb\xbf)?[\w \"]+(,[\w \"]+)+\r?\n", head):
        raise ValueError(f"{path}: holds CSV, expected {_KINDS[kind]}; rename it to {renamed(path, '.csv')}")
    if kind in (".csv", ".jsonl") and b"\r" in head and b"\n" not in head:
        raise ValueError(
            f"{path}:1: lines end in CR alone, expected LF or CR LF; convert them, as by `tr '\\r' '\\n'`"
        )
    # Text in UTF-8 holds no NUL; without a byte-order mark UTF-16 is seen by them alone.
    if kind != ".parquet" and len(head) > 3 and 0 in (head[0], head[1]) and head.count(0) * 3 > len(head):
        raise ValueError(f"{path}:1: not UTF-8: it looks like UTF-16; convert the file to UTF-8")


def lines_of_objects(text: str) -> bool:
    """Whether a text that is no single JSON value has an object on each of its first lines."""
    lines = [line for line in text.split("\n", 5)[:5] if line.strip()]
    return len(lines) > 1 and isinstance(_value(lines[0]), dict) and isinstance(_value(lines[1]), dict)


def one_array(line: str) -> bool:
    """Whether the first line of a .jsonl file shows that the file is one JSON value over many rows."""
    value = _value(line)
    if isinstance(value, list):
        return not value or any(isinstance(row, dict) for row in value)
    return line.strip() in ("[", "{") or re.match(r"\s*\[\s*\{", line) is not None


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def of_object(path: Path, value: dict[str, Any], wanted: Sequence[str]) -> str:
    """What the object is that stands where an array of rows is expected, with the way out."""
    start = f"{path}: found an object, expected an array of rows"
    under = list(_arrays(value))
    if under:
        listed = ", ".join(f"{'.'.join(keys)!r} ({count})" for keys, count in under)
        inner = "".join(f"[{key!r}]" for key in under[0][0])
        return (
            f"{start}; rows seem to be under {listed}: make the array a file of its own, such as by "
            f'python -c "import json, sys; json.dump(json.load(sys.stdin){inner}, sys.stdout)" '
            f"< {path.name} > rows.json"
        )
    columns = [key for key in wanted if isinstance(value.get(key), list | dict)]
    if columns:
        return (
            f"{start}; the columns seem to be its keys, as pandas writes them by default: write it with "
            "to_json(..., orient='records')"
        )
    if len(value) > 1 and all(isinstance(row, dict) for row in value.values()):
        return f"{start}; rows seem to be the values of its {len(value)} keys: make an array of them"
    if wanted and not any(key in value for key in wanted):
        listed = ", ".join(map(repr, list(value)[:5]))
        return f"{start}; its {len(value)} keys ({listed}) are no columns: make each row an object of those"
    return f"{start}; one object a line is JSONL: name the file {renamed(path, '.jsonl')}"


def _arrays(value: dict[str, Any], above: tuple[str, ...] = ()) -> Iterable[tuple[tuple[str, ...], int]]:
    """Keys that lead to arrays of objects, at most three deep, and how many objects each holds."""
    for key, inner in value.items():
        if isinstance(inner, list) and inner and all(isinstance(row, dict) for row in inner):
            yield (*above, key), len(inner)
        elif isinstance(inner, dict) and len(above) < 2:
            yield from _arrays(inner, (*above, key))


def check_separator(path: Path, header: str) -> None:
    """Raise ValueError where the first line of a CSV file is not separated by commas."""
    if re.fullmatch(r"\s*sep=.\s*", header):
        raise ValueError(
            f"{path}:1: found {header.strip()!r}, a line for Excel, expected the header; remove it"
        )
    text = re.sub(r'"[^"]*"', '""', header)
    for sign in SEPARATORS:
        if text.count(sign) > text.count(","):
            name = "a tab" if sign == "\t" else repr(sign)
            raise ValueError(
                f"{path}:1: the separator seems to be {name}, expected a comma (found the header "
                f"{header.strip()[:80]!r}); save the file with commas, as by pandas: read_csv(..., "
                f"sep={sign!r}) and to_csv(..., index=False)"
            )
