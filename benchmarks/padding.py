"""Tokens that each stage processes over those it was given: `python benchmarks/padding.py [--folder F]`

Lays out the batches of a finished run (`make repro`) as the stages do on a CPU, without computing them. Given
is each prompt once with its completions, so that less is processed where prompts share what they open with,
and since the last token of a completion is not read; padding is counted apart. Training draws its batches at
random: those of three epochs here. A token of an answer is one pass; its last is never fed.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from knowtuning.batching import by_length  # noqa: E402
from knowtuning.config.schema import check  # noqa: E402
from knowtuning.core.records import Atoms, Example, Prediction, Preference, Rewrite, read_jsonl  # noqa: E402
from knowtuning.inference import decoders, greedy, rows  # noqa: E402
from knowtuning.knowledge.score import encode  # noqa: E402
from knowtuning.packing import Layout, Tree, bare, passes  # noqa: E402
from knowtuning.runtime.models import load_tokenizer  # noqa: E402
from knowtuning.runtime.prompting import encode_prompt  # noqa: E402
from knowtuning.training.engine.rows import Encoder, PairRow, Row, pair_tree, row_tree  # noqa: E402


class Counts(NamedTuple):
    """Tokens given to a stage; those it processes, and how many of these are padding."""

    given: int
    processed: int
    padding: int


def laid_out(batches: Iterable[tuple[Sequence[Tree], Layout]]) -> Counts:
    """The counts of batches of trees."""
    given, processed, padding = 0, 0, 0
    for trees, layout in batches:
        given += sum(map(len, trees))
        processed += layout.tokens
        own = sum(tree.cells - layout.opening for tree in trees)
        padding += layout.tokens - own - layout.opening * len(layout.rows)
    return Counts(given, processed, padding)


def trained(trees: Sequence[Tree], batch: int) -> Counts:
    """Three epochs of packed batches."""
    draw, order = random.Random(0), list(trees)
    parts = []
    for _ in range(3):
        draw.shuffle(order)
        parts += [order[start : start + batch] for start in range(0, len(order), batch)]
    return laid_out((part, Layout.single(part)) for part in parts)


def scored(trees: Sequence[Tree], budget: int) -> Counts:
    """All passes of scoring, or of reading prompts."""
    parts = [[trees[index] for index in part] for part in passes(trees, budget)]
    return laid_out((part, Layout.single(part)) for part in parts)


def predicted(
    prompts: Sequence[Sequence[int]], answers: Sequence[int], new_tokens: int, budget: int
) -> Counts:
    """Prompts read and answers written (lengths, EOS included)."""
    given = sum(map(len, prompts)) + sum(answers) - len(answers)
    processed, filled = 0, 0
    lengths = [len(prompt) + new_tokens for prompt in prompts]
    for batch in by_length(lengths, budget, most=decoders._MOST, padded=False):
        trees = [bare(prompts[index]) for index in batch]
        read = scored(trees, rows._READ)
        alive = [answers[index] for index in batch]
        processed += read.processed
        filled += read.processed - read.padding + sum(alive) - len(alive)
        for step in range(1, new_tokens):
            going = [length for length in alive if length > step]
            if not going:
                break
            if len(alive) - len(going) >= greedy._LEAVE * len(alive):
                alive = going
            processed += len(alive)
    return Counts(given, processed, processed - filled)


def measure(folder: Path) -> Iterator[tuple[str, Counts]]:
    """Stage, tokens given and processed."""
    params, data = check(folder / "params.yaml"), folder / "data"
    tokenizer = load_tokenizer(folder / "models/base")
    template, limit = params.model.template, params.model.max_length
    encoder = Encoder(tokenizer, template, limit)

    atoms = read_jsonl(data / "knowledge/atoms.jsonl", Atoms)
    encoded = [encode(record, tokenizer, template=template, context=limit) for record in atoms]
    yield "score", scored([tree for item in encoded for tree in item.rows], 8192)
    originals = read_jsonl(data / "prepared/train.jsonl", Example)
    texts = [*originals, *read_jsonl(data / "knowledge/ka.jsonl", Rewrite)]
    trees = [row_tree(row) for row in map(encoder.example, texts) if isinstance(row, Row)]
    yield "train_ka", trained(trees, params.train_ka.batch)
    pairs = [encoder.pair(pair) for pair in read_jsonl(data / "knowledge/kc.jsonl", Preference)]
    trees = [pair_tree(row) for row in pairs if isinstance(row, PairRow)]
    yield "train_kc", trained(trees, params.train_kc.batch)
    for system in ("base", "kc"):
        path = data / f"predictions/{system}.jsonl"
        if not path.exists():  # the larger model of compare.py has none
            continue
        found = read_jsonl(path, Prediction)
        prompts = [encode_prompt(tokenizer, template, answer.question) for answer in found]
        answers = [answer.tokens + (not answer.truncated) for answer in found]
        yield f"predict {system}", predicted(prompts, answers, params.predict.max_new_tokens, 2**20)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--folder", type=Path, default=ROOT, help="a checkout with a finished run")
    folder = parser.parse_args().folder
    print("| stage | given | processed | over given | padding |\n|---|---:|---:|---:|---:|")
    for stage, (given, processed, padding) in measure(folder):
        share = f"{100 * padding / processed:.1f} %"
        print(f"| {stage} | {given} | {processed} | {processed / given:.3f} | {share} |")


if __name__ == "__main__":
    main()
