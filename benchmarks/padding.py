"""Tokens that each stage processes over those it was given: `python benchmarks/padding.py [--folder F]`

Lays out the batches of a finished run (`make repro`) as the stages do, without computing them. Training draws
its batches at random: those of three epochs here. A token of an answer is one pass; its last is never fed.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from knowtuning.batching import by_length  # noqa: E402
from knowtuning.config.schema import check  # noqa: E402
from knowtuning.core.records import Atoms, Example, Prediction, Preference, Rewrite, read_jsonl  # noqa: E402
from knowtuning.inference import decoders, greedy  # noqa: E402
from knowtuning.knowledge.score import encode, plan_batches  # noqa: E402
from knowtuning.packing import Tree, packed  # noqa: E402
from knowtuning.runtime.models import load_tokenizer, source_of  # noqa: E402
from knowtuning.runtime.prompting import encode_prompt  # noqa: E402
from knowtuning.training.engine.rows import Encoder, PairRow, Row, pair_tree, row_tree  # noqa: E402

Counts = tuple[int, int]


def trained(trees: Sequence[Tree], batch: int, hidden: int) -> Counts:
    """Tokens given and processed in three epochs of packed batches."""
    draw, lengths = random.Random(0), [len(tree) for tree in trees]
    given, processed = 0, 0
    for _ in range(3):
        draw.shuffle(lengths)
        for start in range(0, len(lengths), batch):
            part = lengths[start : start + batch]
            rows = packed(part, hidden)
            given += sum(part)
            processed += len(rows) * max(sum(part[index] for index in row) for row in rows)
    return given, processed


def scored(trees: Sequence[Tree], budget: int) -> Counts:
    """The same of scoring."""
    processed = sum(
        len(batch) * max(len(trees[index]) for index in batch) for batch in plan_batches(trees, budget)
    )
    return sum(map(len, trees)), processed


def predicted(prompts: Sequence[int], answers: Sequence[int], new_tokens: int, budget: int) -> Counts:
    """The same of prompts read and answers written, EOS included (lengths)."""
    processed = 0
    for batch in by_length([length + new_tokens for length in prompts], budget, most=decoders._MOST):
        own = [prompts[index] for index in batch]
        processed += sum(len(group) * max(own[i] for i in group) for group in greedy.alike(own))
        alive = [answers[index] for index in batch]
        for step in range(1, new_tokens):
            going = [length for length in alive if length > step]
            if not going:
                break
            if len(alive) - len(going) >= greedy._LEAVE * len(alive):
                alive = going
            processed += len(alive)
    return sum(prompts) + sum(answers) - len(answers), processed


def measure(folder: Path) -> Iterator[tuple[str, Counts]]:
    """Stage, tokens given and processed."""
    from transformers import AutoConfig

    params, data = check(folder / "params.yaml"), folder / "data"
    tokenizer = load_tokenizer(folder / "models/base")
    name, revision = source_of(folder / "models/base")
    config = AutoConfig.from_pretrained(name, trust_remote_code=False, **revision).get_text_config()
    template, limit = params.model.template, params.model.max_length
    encoder = Encoder(tokenizer, template, limit)

    atoms = read_jsonl(data / "knowledge/atoms.jsonl", Atoms)
    encoded = [encode(record, tokenizer, template=template, context=limit) for record in atoms]
    yield "score", scored([tree for item in encoded for tree in item.rows], 2048)
    originals = read_jsonl(data / "prepared/train.jsonl", Example)
    rows = [encoder.example(row) for row in [*originals, *read_jsonl(data / "knowledge/ka.jsonl", Rewrite)]]
    trees = [row_tree(row) for row in rows if isinstance(row, Row)]
    yield "train_ka", trained(trees, params.train_ka.batch, config.hidden_size)
    pairs = [encoder.pair(pair) for pair in read_jsonl(data / "knowledge/kc.jsonl", Preference)]
    trees = [pair_tree(row) for row in pairs if isinstance(row, PairRow)]
    yield "train_kc", trained(trees, params.train_kc.batch, config.hidden_size)
    for system in ("base", "kc"):
        path = data / f"predictions/{system}.jsonl"
        if not path.exists():  # the larger model of compare.py has none
            continue
        found = read_jsonl(path, Prediction)
        prompts = [len(encode_prompt(tokenizer, template, answer.question)) for answer in found]
        answers = [answer.tokens + (not answer.truncated) for answer in found]
        yield f"predict {system}", predicted(prompts, answers, params.predict.max_new_tokens, 2**20)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--folder", type=Path, default=ROOT, help="a checkout with a finished run")
    folder = parser.parse_args().folder
    print("| stage | tokens | processed | over |\n|---|---:|---:|---:|")
    for stage, (given, processed) in measure(folder):
        print(f"| {stage} | {given} | {processed} | {processed / given:.3f} |")


if __name__ == "__main__":
    main()
