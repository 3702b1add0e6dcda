"""Training data for other trainers, and from them.

`export` writes what a system is trained on in another trainer's format (docs/data.md has their settings):
  python -m knowtuning.exchange export --format trl --what kc --out kc.jsonl
`import` makes rewrites or pairs of such a file, as that of the paper's KC data; every faulty row is named:
  python -m knowtuning.exchange import KC.json --what kc --out data/knowledge/pairs.jsonl
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from knowtuning.core.records import check_rejected, rejected_path, write_jsonl
from knowtuning.core.tables import entry
from knowtuning.data.readers import read_rows
from knowtuning.exchange.exporting import exported, write_rows
from knowtuning.exchange.formats import FORMATS
from knowtuning.exchange.importing import LEFT_OUT, imported, read_splits
from knowtuning.systems import trained
from knowtuning.terminal import run

RELEASED = "llama-factory-old"
# Lines about faulty rows on the screen; the file has them all.
SHOWN = 20


def export(arguments: argparse.Namespace) -> None:
    """Write the training rows of a system."""
    system = entry(trained(), arguments.what, "--what")
    rows = exported(system, entry(FORMATS, arguments.format, "--format"), root=Path())
    write_rows(arguments.out, rows)
    print(f"{arguments.out}: {len(rows)} rows")


def import_file(arguments: argparse.Namespace) -> None:
    """Write the records of a file, and the rows that gave none beside them.

    Raises ValueError when more than --max-rejected of the rows are faulty, or none is of use.
    """
    form = entry(FORMATS, arguments.format, "--format")
    if arguments.out.suffix != ".jsonl":
        raise ValueError(f"--out is {arguments.out}; expected a name that ends in .jsonl, a record a line")
    splits, rejected_to = read_splits(arguments.prepared), rejected_path(arguments.out)
    result = imported(read_rows(arguments.file, []), arguments.what, form, splits)
    faulty = [row for row in result.rejected if not row.left_out]
    for row in faulty[:SHOWN]:
        sys.stderr.write(f"{row.id}: {row.reason}\n")
    if len(faulty) > SHOWN:
        sys.stderr.write(f"and {len(faulty) - SHOWN} more in {rejected_to}\n")
    write_jsonl(rejected_to, result.rejected)
    read, limit = result.counts["read"], arguments.max_rejected
    check_rejected(faulty, read, limit, where=rejected_to, key="--max-rejected")
    left = ", ".join(f"{result.counts[kind]} {kind}" for kind in LEFT_OUT)
    if not result.records:
        raise ValueError(f"{arguments.file}: none of its {read} rows is of use: {left}")
    write_jsonl(arguments.out, result.records)
    print(f"{arguments.out}: {len(result.records)} of {read} rows; left out: {left}, {len(faulty)} faulty")
    if result.unread:
        columns = ", ".join(f"{name!r} ({count})" for name, count in result.unread.items())
        print(f"{arguments.file}: columns that are not used (with how many rows fill them): {columns}")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="knowtuning.exchange", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    tasks = parser.add_subparsers(required=True, metavar="TASK")
    out = tasks.add_parser("export", help="write training rows in another trainer's format")
    out.set_defaults(run=export)
    out.add_argument("--format", required=True, help=f"one of {', '.join(FORMATS)}")
    out.add_argument("--what", required=True, help=f"the system whose data it is: {', '.join(trained())}")
    out.add_argument("--out", required=True, type=Path, help="file to write, .json or .jsonl")
    into = tasks.add_parser("import", help="make rewrites or pairs of such a file")
    into.set_defaults(run=import_file)
    into.add_argument("file", type=Path, help=".json, .jsonl, .csv (each also with .gz) or .parquet")
    into.add_argument("--what", required=True, choices=("ka", "kc"), help="ka: rewrites, kc: pairs")
    into.add_argument("--out", required=True, type=Path, help="the .jsonl file to write")
    into.add_argument("--format", default=RELEASED, help=f"one of {', '.join(FORMATS)} (default: {RELEASED})")
    into.add_argument("--prepared", type=Path, default=Path("data/prepared"), help="splits to compare with")
    into.add_argument(
        "--max-rejected", type=float, default=0.01, help="largest share of faulty rows (default: 0.01)"
    )
    return parser.parse_args()


def main() -> None:
    arguments = parse()
    arguments.run(arguments)


if __name__ == "__main__":
    run(main)
