"""Rows of JSON, JSONL, CSV and Parquet files, as a stream; nothing is judged here but the file."""

from __future__ import annotations

import csv
import gzip
import itertools
import json
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NoReturn

from knowtuning.data import shapes
from knowtuning.data.chat import WAY, chat_column


@dataclass(frozen=True)
class RawRow:
    """A row as the source holds it. where: file name with the line, row or pair (counted from 1)."""

    where: str
    values: Any


def read_rows(path: Path, wanted: Iterable[str]) -> Iterator[RawRow]:
    """Rows of a file, by its extension; `wanted` are the columns that at least one row must have, that of the
    question first.

    Raises ValueError, naming file and place, when the file is missing, of an unknown kind, not what
    its extension says, not UTF-8, empty, or without a wanted column.
    """
    wanted = list(wanted)
    kind = "".join(path.suffixes[-2:-1] if _packed(path) else path.suffixes[-1:]).lower()
    reader = _READERS.get(kind)
    if reader is None or (_packed(path) and kind == ".parquet"):
        raise ValueError(shapes.unknown_extension(path))
    if not path.is_file():
        what = "a folder, expected a file" if path.is_dir() else "no such file"
        raise ValueError(f"{path}: {what}; paths count from the repository root")
    _check_head(path, kind)
    columns: dict[str, None] = {}
    row = None
    for row in reader(path, wanted):
        if isinstance(row.values, dict):
            columns.update(dict.fromkeys(row.values))
        yield row
    if row is None:
        raise ValueError(f"{path}: the file holds no row; expected at least one")
    if columns:
        check_columns(str(path), columns, wanted)


def check_columns(where: str, present: Iterable[str], wanted: Sequence[str]) -> None:
    """Raise ValueError, listing the columns found, when a wanted one is not among them.

    A conversation in place of the question, which is wanted first, holds the others too.
    """
    columns = list(present)
    if wanted and chat_column(columns, wanted[0]):
        return
    for name in wanted:
        if name not in columns:
            listed = ", ".join(repr(column) for column in columns)
            way = f"; {WAY}" if chat_column(columns, "") else ""
            raise ValueError(
                f"{where}: no column {name!r}; found {listed}; map the columns in params.yaml under "
                f"the section of the source (context and id may be null){way}"
            )


def _packed(path: Path) -> bool:
    return path.suffix.lower() == ".gz"


def _check_head(path: Path, kind: str) -> None:
    """Raise ValueError where the first bytes are those of another kind of file than the name says."""
    with path.open("rb") as stream:
        head = stream.read(4096)
    if _packed(path):
        if head and not head.startswith(b"\x1f\x8b"):
            raise ValueError(
                f"{path}: broken gzip file (its bytes are not those of gzip); rename it to {path.stem}, or "
                "fetch it again"
            )
        head = next(_lines(path), b"")[:4096]
    shapes.check_head(path, head, kind)


def _lines(path: Path) -> Iterator[bytes]:
    """The lines of a file with their ends, unpacked if it is .gz."""
    with path.open("rb") as packed:
        stream: IO[bytes] = gzip.GzipFile(fileobj=packed) if _packed(path) else packed  # type: ignore[assignment]
        try:
            yield from stream
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise ValueError(f"{path}: broken gzip file ({error}); fetch it again") from error


def _text_lines(path: Path) -> Iterator[str]:
    """The lines of a UTF-8 file. Raises ValueError with line and byte offset (both of the text)."""
    offset = 0
    for number, line in enumerate(_lines(path), 1):
        try:
            text = line.decode("utf-8")
        except UnicodeDecodeError as error:
            at = offset + error.start
            wide = number == 1 and line.startswith((b"\xff\xfe", b"\xfe\xff"))
            raise ValueError(
                f"{path}:{number}: not UTF-8 at byte offset {at} (found 0x{line[error.start]:02x}); "
                f"{'it looks like UTF-16; ' if wide else ''}convert the file to UTF-8"
            ) from error
        # A byte-order mark, as spreadsheets write it, is no part of the text.
        yield text.removeprefix("\ufeff") if number == 1 else text
        offset += len(line)


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON value; write null for a value that is missing")


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The object of these keys; of a key that comes twice Python would keep the last value."""
    value = dict(pairs)
    for key, first in pairs if len(value) < len(pairs) else ():
        if value[key] != first:
            both = f"{ascii(first)[:60]} and {ascii(value[key])[:60]}"
            raise ValueError(f"an object has the key {key!r} twice, with {both}; expected distinct keys")
    return value


def _parse(text: str, path: Path, line: int, expected: str) -> Any:
    try:
        return json.loads(text, parse_constant=_no_constant, object_pairs_hook=_distinct)
    except json.JSONDecodeError as error:
        at, problem = line + error.lineno - 1, error.msg.removesuffix(" at")
        raise ValueError(
            f"{path}:{at}: not JSON: {problem} at column {error.colno}; expected {expected}"
        ) from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}:{line}: not JSON: {error}") from error


def _read_json(path: Path, wanted: list[str]) -> Iterator[RawRow]:
    text = "".join(_text_lines(path))
    if shapes.lines_of_objects(text):
        raise ValueError(
            f"{path}: holds one object a line, which is JSONL, expected an array of rows; rename it to "
            f"{shapes.renamed(path, '.jsonl')}"
        )
    value = _parse(text, path, 1, "one array of objects, with nothing behind it")
    if isinstance(value, dict):
        raise ValueError(shapes.of_object(path, value, wanted))
    if not isinstance(value, list):
        raise ValueError(f"{path}: found {type_name(value)}, expected an array of rows")
    for number, values in enumerate(value, 1):
        yield RawRow(f"{path.name} row {number}", values)


def _read_jsonl(path: Path, wanted: list[str]) -> Iterator[RawRow]:
    first = True
    for number, line in enumerate(_text_lines(path), 1):
        if line.strip():
            if first and shapes.one_array(line):
                raise ValueError(
                    f"{path}:{number}: holds JSON over several rows or lines, expected one object a line; "
                    f"rename it to {shapes.renamed(path, '.json')}"
                )
            first = False
            yield RawRow(f"{path.name} line {number}", _parse(line, path, number, "one object a line"))


def _read_csv(path: Path, wanted: list[str]) -> Iterator[RawRow]:
    # The default limit of 128 KiB a cell is less than some documents.
    csv.field_size_limit(2**31 - 1)
    shapes.check_separator(path, next(_text_lines(path), ""))
    # A quote behind a blank opens a cell too; blanks around a lone line are no part of its text (normalise).
    reader = csv.reader(_text_lines(path), strict=True, skipinitialspace=True)
    start = 1
    try:
        header = next(filter(None, reader), [])
        _check_distinct(f"{path}:{reader.line_num}", header)
        if header:
            # At once: were another line taken for the header, every row would be of a wrong width.
            check_columns(f"{path}:{reader.line_num}", header, wanted)
        start = reader.line_num + 1
        for cells in reader:
            if cells:
                # A row of another width is passed on as a list, which is then rejected as a row.
                values = dict(zip(header, cells, strict=True)) if len(cells) == len(header) else cells
                yield RawRow(f"{path.name} line {start}", values)
            start = reader.line_num + 1
    except csv.Error as error:
        raise ValueError(
            f"{path}:{reader.line_num}: not CSV: {error}, in the row that begins on line {start}; expected a "
            "cell that begins with a quote to end with one, and quotes inside of it doubled"
        ) from error


def _check_distinct(where: str, columns: Sequence[str]) -> None:
    """Raise ValueError for a column that comes twice: a row would hold its last value alone."""
    for name, group in itertools.groupby(sorted(columns)):
        if len(list(group)) > 1:
            raise ValueError(
                f"{where}: column {name!r} occurs twice; expected distinct names; rename or remove one"
            )


def _read_parquet(path: Path, wanted: list[str]) -> Iterator[RawRow]:
    import pyarrow
    import pyarrow.parquet

    number = 0
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            _check_distinct(str(path), file.schema_arrow.names)
            for batch in file.iter_batches(batch_size=1000):
                for values in batch.to_pylist():
                    number += 1
                    yield RawRow(f"{path.name} row {number}", values)
    except (pyarrow.ArrowException, OSError) as error:
        raise ValueError(f"{path}: not a readable Parquet file after row {number}: {error}") from error


def type_name(value: Any) -> str:
    """The type of a value with its article, as JSON calls it, else as Python does."""
    names = {dict: "an object", list: "an array", str: "a string", bool: "a boolean", type(None): "null"}
    number = isinstance(value, int | float)
    return names.get(type(value), "a number" if number else f"a value of type {type(value).__name__}")


_READERS: dict[str, Callable[[Path, list[str]], Iterator[RawRow]]] = {
    ".json": _read_json,
    ".jsonl": _read_jsonl,
    ".csv": _read_csv,
    ".parquet": _read_parquet,
}
