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
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from difflib import SequenceMatcher
from functools import partial, singledispatch
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from knowtuning.checkout import BASE, is_made
from knowtuning.core import records
from knowtuning.core.params import load
from knowtuning.core.records import Pair, Record
from knowtuning.core.storage import digest
from knowtuning.systems import EVERY, PAIRS, REWRITES
from knowtuning.terminal import Screen, clean, run, screen, wrapped

if TYPE_CHECKING:
    from knowtuning.training.rows import Encoder

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
# What a side of a pair alone has: the signs around it, and its style.
MARKS = {"chosen": ("{+", "+}", "green"), "rejected": ("[-", "-]", "red")}
_TEXT = 12  # columns of the names of fields


def files(name: str) -> list[Path]:
    """The files that a system, a stage or a path stands for. Raises ValueError for one that is not there."""
    if name in EVERY and not EVERY[name].data:
        raise ValueError(f"{name} is trained on nothing; expected a system with training data, or a file")
    paths = [data.path for data in EVERY[name].data] if name in EVERY else [STAGES.get(name, Path(name))]
    for path in paths:
        if not path.is_file():
            known = name in EVERY or name in STAGES
            fix = (
                "run `dvc repro`, or `dvc pull`"
                if known
                else f"name a file, or {', '.join([*EVERY, *STAGES])}"
            )
            raise ValueError(f"{path}: not found; {fix}")
    return paths


def kind_of(line: str, path: Path) -> type[Record]:
    """The kind of record that a line is. Raises ValueError for a line that is none."""
    try:
        fields = set(json.loads(line))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path}: not JSON Lines ({error}); expected records of docs/records.md") from error
    for kind in KINDS:
        with contextlib.suppress(ValidationError):
            if fields == set(kind.model_fields):
                kind.model_validate_json(line)
                return kind
    raise ValueError(
        f"{path}: its fields are {', '.join(sorted(fields))}; expected a record of docs/records.md"
    )


def read(path: Path) -> list[Record]:
    """The records of a file, of the kind that its first one is."""
    with path.open(encoding="utf-8") as stream:
        first = stream.readline()
    return list(records.iter_jsonl(path, kind_of(first, path))) if first else []


def drawn(found: Sequence[Record], count: int, seed: int) -> list[Record]:
    """`count` of the records, chosen by hash and in file order; another seed draws others."""
    chosen = {r.id for r in sorted(found, key=lambda r: digest(seed, "look", r.id))[:count]}
    return [record for record in found if record.id in chosen]


def field(name: str, text: str, to: Screen) -> str:
    """A named text, its further lines under its first one."""
    lines = wrapped(text, to.width - _TEXT)
    head = to.paint(f"{name:<{_TEXT - 1}}", "dim")
    return "\n".join(
        f"{head if i == 0 else ' ' * (_TEXT - 1)} {line}".rstrip() for i, line in enumerate(lines)
    )


@singledispatch
def body(record: Any, to: Screen) -> Iterator[str]:
    """What is shown of a record below its id: its fields."""
    for name, value in record:
        if name == "sentences":
            yield from (field(sentence.verdict, sentence.text, to) for sentence in value)
        elif name != "id" and value not in ({}, []):
            yield field(name, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False), to)


@body.register
def _(record: records.Facts | records.Rewrite, to: Screen) -> Iterator[str]:
    yield from (field(name, getattr(record, name), to) for name in ("question", "answer"))
    yield from (field(f"fact {n}", fact, to) for n, fact in enumerate(record.facts, 1))


@body.register
def _(record: records.ScoredFacts, to: Screen) -> Iterator[str]:
    """The facts by their perplexity, the most difficult first."""
    yield from (field(name, getattr(record, name), to) for name in ("question", "answer"))
    for fact in sorted(record.facts, key=lambda fact: -fact.ppl):
        yield field(f"ppl {fact.ppl:.2f}", fact.text, to)


@body.register
def _(record: records.Pair, to: Screen) -> Iterator[str]:
    yield field("aspect", record.aspect, to)
    yield field("question", record.question, to)
    for name, text in zip(MARKS, differing(record.chosen, record.rejected), strict=True):
        yield coloured(field(name, text, to), to)


def differing(chosen: str, rejected: str) -> tuple[str, str]:
    """Both sides with the signs of MARKS around the words that the other does not have in the same order."""
    sides = [re.findall(r"\S+\s*", text) for text in (chosen, rejected)]
    one, other = ([word.strip() for word in side] for side in sides)
    blocks = SequenceMatcher(None, one, other, autojunk=False)
    marked: tuple[list[str], list[str]] = ([], [])
    for tag, i, j, k, m in blocks.get_opcodes():
        for out, words, signs in zip(marked, (sides[0][i:j], sides[1][k:m]), MARKS.values(), strict=True):
            out.append(_around("".join(words), *signs[:2]) if tag != "equal" else "".join(words))
    return "".join(marked[0]), "".join(marked[1])


def _around(text: str, before: str, after: str) -> str:
    """Signs around a text, inside of the white space around it."""
    inner = text.strip()
    return text.replace(inner, f"{before}{inner}{after}") if inner else text


def coloured(text: str, to: Screen) -> str:
    """Marked words in their colour in place of the signs, where there is colour."""
    if not to.colour:
        return text
    for before, after, style in MARKS.values():
        paint = partial(_painted, style=style, to=to)
        text = re.sub(f"{re.escape(before)}(.*?){re.escape(after)}", paint, text, flags=re.DOTALL)
    return text


def _painted(found: re.Match[str], style: str, to: Screen) -> str:
    return "\n".join(to.paint(line, style) for line in found[1].split("\n"))


def counted(tokens: Sequence[int], weights: Sequence[float], decode: Callable[[list[int]], str]) -> str:
    """How many tokens of one side count, and the side: ((tokens)) of no weight, ~~tokens~~ of a part."""
    parts = []
    for weight, run_of in itertools.groupby(zip(tokens, weights, strict=True), key=lambda pair: pair[1]):
        text = decode([token for token, _ in run_of])
        parts.append(text if weight == 1 else f"(({text}))" if weight == 0 else f"~~{text}~~")
    return f"{sum(weights):g} of {len(tokens)} tokens count: {''.join(parts).strip()}"


def encoder_of(system: str) -> Encoder:
    """What makes the rows that a system is trained on, by the params of this checkout."""
    from knowtuning.config.schema import Params
    from knowtuning.model.prompt import load_formatter
    from knowtuning.training.rows import Encoder

    params = load(PARAMS, Params)
    which = getattr(params, EVERY[system].section).counted
    return Encoder(load_formatter(BASE, params.model), params.model.max_length, which)


def loss_lines(record: Pair, encoder: Encoder, to: Screen) -> Iterator[str]:
    """Which tokens of a pair count in its preference loss; or why it is not trained on."""
    row = encoder.pair(record)
    if isinstance(row, records.Rejected):
        yield field("loss", f"not trained on: {row.reason}", to)
        return
    decode: Any = encoder.formatter.tokenizer.decode
    for name, tokens, weights in zip(MARKS, row.completions, row.weights, strict=True):
        yield field(f"  {name}", counted(tokens, weights, decode), to)


def lines(found: Iterable[Record], encoder: Encoder | None, to: Screen) -> Iterator[str]:
    """The records as text, an empty line after each."""
    for record in found:
        yield to.paint(clean(record.id), "bold")
        yield from body(record, to)
        if encoder and isinstance(record, Pair):
            yield from loss_lines(record, encoder, to)
        yield ""


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
        found = [record for record in read(path) if arguments.id in record.id]
        shown = drawn(found, arguments.n, arguments.seed)
        print(to.paint(f"{path}: {len(shown)} of {len(found)} records", "bold"), end="\n\n")
        for line in lines(shown, encoder, to):
            print(line)


if __name__ == "__main__":
    run(main)
