"""look: records of a run as people read them. `python -m knowtuning.look kc --n 5`

What to look at: a system (what it was trained on), a stage (what it wrote), or a file of records.

Words that one side of a pair alone has are marked, {+of the chosen one+} and [-of the rejected one-], in
colour on a terminal. Of the pairs that a system is trained on, its preference loss leaves out ((tokens)), and
counts ~~tokens~~ in part.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import singledispatch
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from knowtuning.core import records
from knowtuning.core.params import load
from knowtuning.core.records import Pair, Record
from knowtuning.core.storage import digest, open_text
from knowtuning.systems import BASE, EVERY, PAIRS, REWRITES, is_made
from knowtuning.terminal import clean, run, screen

if TYPE_CHECKING:
    from knowtuning.training.rows import RowEncoder

PARAMS = Path("params.yaml")
# The stages that write one file of records, and which; a system's name stands for its training data.
STAGES: Mapping[str, Path] = {
    "prepare": Path("data/prepared/train.jsonl"),
    "extract": Path("data/knowledge/facts.jsonl"),
    "score": Path("data/knowledge/scored_facts.jsonl"),
    "rewrite": REWRITES.path,
    "perturb": PAIRS.path,
    "probe": Path("data/probe/pairs.jsonl"),
    "verify": Path("data/verification/verdicts.jsonl"),
    "evaluate": Path("data/evaluation/answers.jsonl"),
}
KINDS = tuple(
    kind
    for kind in vars(records).values()
    if isinstance(kind, type) and issubclass(kind, Record) and kind is not Record
)
# Styles of a part of a text: the signs around it, and the colour on a terminal.
MARKS = {
    "chosen": ("{+", "+}", "green"),
    "rejected": ("[-", "-]", "red"),
    "uncounted": ("((", "))", ""),
    "partial": ("~~", "~~", ""),
}
SIDES = ("chosen", "rejected")
_COLUMNS = 12  # of the names of fields
Parts = list[tuple[str, str]]


@dataclass(frozen=True)
class Field:
    """A named text of a record, in parts: (text, its style of MARKS, or "")."""

    name: str
    parts: Parts


def files(name: str) -> list[Path]:
    """The files that a system, a stage or a path stands for. Raises ValueError for one that is not there."""
    if name in EVERY and not EVERY[name].data:
        raise ValueError(f"{name} is trained on nothing; expected a system with training data, or a file")
    paths = [data.path for data in EVERY[name].data] if name in EVERY else [STAGES.get(name, Path(name))]
    for path in paths:
        if not path.is_file():
            fix = f"name a file, or {', '.join([*EVERY, *STAGES])}"
            if name in EVERY or name in STAGES:
                fix = "run `dvc repro`, or `dvc pull`"
            raise ValueError(f"{path}: not found; {fix}")
    return paths


def kind_of(line: str, path: Path) -> type[Record]:
    """The kind of record that a line is. Raises ValueError for a line that is none."""
    try:
        fields = set(dict(json.loads(line)))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path}: not JSON Lines ({error}); expected records of docs/records.md") from error
    for kind in KINDS:
        with contextlib.suppress(ValidationError):
            always = {name for name, field in kind.model_fields.items() if field.exclude_if is None}
            if always <= fields <= set(kind.model_fields):
                kind.model_validate_json(line)
                return kind
    raise ValueError(
        f"{path}: its fields are {', '.join(sorted(fields))}; expected a record of docs/records.md"
    )


def read(path: Path) -> list[Record]:
    """The records of a file, of the kind that its first one is."""
    with open_text(path) as stream:
        first = stream.readline()
    return list(records.iter_jsonl(path, kind_of(first, path))) if first else []


def drawn(every: Sequence[Record], count: int, seed: int) -> list[Record]:
    """`count` of the records, chosen by hash and in file order; another seed draws others."""
    chosen = {r.id for r in sorted(every, key=lambda r: digest(seed, "look", r.id))[:count]}
    return [record for record in every if record.id in chosen]


def table_of(shown: Iterable[Field], to: Console) -> Table:
    """Fields with their names beside them; signs show the styles where no colour does."""
    rows = Table.grid(Column(width=_COLUMNS - 1), Column(), padding=(0, 1, 0, 0))
    for field in shown:
        text = Text(tab_size=4)
        for part, style in field.parts:
            before, after, colour = MARKS.get(style, ("", "", ""))
            # White space around the part is outside of the signs.
            inner = part.strip()
            if inner and not (colour and to.color_system):
                part, colour = part.replace(inner, f"{before}{inner}{after}"), ""
            text.append(clean(part), colour)
        rows.add_row(Text(field.name, style="dim"), text)
    return rows


def _fields(record: Any, *names: str) -> Iterator[Field]:
    for name in names:
        value = getattr(record, name)
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        yield Field(name, [(text, "")])


@singledispatch
def body(record: Any) -> Iterator[Field]:
    """What is shown of a record below its id: its fields."""
    for name, value in record:
        if name == "sentences":
            yield from (Field(sentence.verdict, [(sentence.text, "")]) for sentence in value)
        elif name != "id" and value not in ({}, []):
            yield from _fields(record, name)


@body.register
def _(record: records.Facts | records.Rewrite) -> Iterator[Field]:
    yield from _fields(record, "question", "answer")
    yield from (Field(f"fact {n}", [(fact, "")]) for n, fact in enumerate(record.facts, 1))


@body.register
def _(record: records.ScoredFacts) -> Iterator[Field]:
    """The facts by their perplexity, the most difficult first."""
    yield from _fields(record, "question", "answer")
    for fact in sorted(record.facts, key=lambda fact: -fact.ppl):
        yield Field(f"ppl {fact.ppl:.2f}", [(fact.text, "")])


@body.register
def _(record: records.Pair) -> Iterator[Field]:
    yield from _fields(record, "aspect", "question")
    yield from map(Field, SIDES, differing(record.chosen, record.rejected))


def differing(chosen: str, rejected: str) -> tuple[Parts, Parts]:
    """Both sides in parts; words that the other one lacks in the same order have their side's style."""
    sides = [re.findall(r"\S+\s*", text) for text in (chosen, rejected)]
    one, other = ([word.strip() for word in side] for side in sides)
    blocks = SequenceMatcher(None, one, other, autojunk=False).get_opcodes()
    ends = ([(tag, i, j) for tag, i, j, _, _ in blocks], [(tag, k, m) for tag, _, _, k, m in blocks])
    first, second = (
        [("".join(words[i:j]), "" if tag == "equal" else style) for tag, i, j in spans if i < j]
        for words, spans, style in zip(sides, ends, SIDES, strict=True)
    )
    return first, second


def encoder_of(system: str) -> RowEncoder:
    """What makes the rows that a system is trained on, by the params of this checkout."""
    from knowtuning.config.schema import Params
    from knowtuning.model.prompt import load_formatter
    from knowtuning.training.rows import RowEncoder

    params = load(PARAMS, Params)
    which = getattr(params, EVERY[system].section).counted
    return RowEncoder(load_formatter(BASE, params.model), params.model.max_length, which)


def loss_fields(record: Pair, encoder: RowEncoder) -> Iterator[Field]:
    """Which tokens of a pair count in its preference loss (uncounted: of no weight, partial: of less than 1);
    or why it is not trained on."""
    row = encoder.row(record)
    if isinstance(row, records.Rejected):
        yield Field("loss", [(f"not trained on: {row.reason}", "")])
        return
    decode: Any = encoder.formatter.tokenizer.decode
    for name, tokens, weights in zip(SIDES, row.completions, row.weights, strict=True):
        parts = [(f"{sum(weights):g} of {len(tokens)} tokens count: ", "")]
        for weight, alike in itertools.groupby(zip(tokens, weights, strict=True), key=lambda pair: pair[1]):
            style = "" if weight == 1 else "uncounted" if weight == 0 else "partial"
            parts.append((decode([token for token, _ in alike]), style))
        yield Field(f"  {name}", parts)


def fields(record: Record, encoder: RowEncoder | None) -> list[Field]:
    """All that is shown of a record below its id. encoder: of the system that is trained on it, if any."""
    loss = loss_fields(record, encoder) if encoder and isinstance(record, Pair) else ()
    return [*body(record), *loss]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("what", help=f"{', '.join([*EVERY, *STAGES])}, or a JSONL file")
    parser.add_argument("--n", type=int, default=5, help="records of each file; default: 5")
    parser.add_argument("--seed", type=int, default=0, help="another one draws other records; default: 0")
    parser.add_argument("--id", default="", help="records alone whose id contains this")
    arguments = parser.parse_args()
    if arguments.n < 1:
        raise ValueError(f"--n is {arguments.n}; expected at least 1")
    to, preference = screen(), arguments.what in EVERY and EVERY[arguments.what].objective == "preference"
    paths = files(arguments.what)
    encoder = encoder_of(arguments.what) if preference and is_made("base") else None
    for path in paths:
        every = [record for record in read(path) if arguments.id in record.id]
        shown = drawn(every, arguments.n, arguments.seed)
        to.print(Text(f"{path}: {len(shown)} of {len(every)} records", style="bold"), end="\n\n")
        for record in shown:
            to.print(Text(clean(record.id), style="bold"))
            to.print(table_of(fields(record, encoder), to), "")


if __name__ == "__main__":
    run(main)
