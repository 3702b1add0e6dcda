"""What annotators see: pairs of answers in both orders, without the systems' names, in a random order."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from knowtuning.core.records import Example, Prediction, Record
from knowtuning.core.storage import digest, record_rng

Side = Literal["a", "b"]


class KeyItem(Record):
    """What an item hides; `id` is the item's. Answer 1 is that of system `first`, a or b.

    equal: the two answers are the same text; nobody is asked, and the pair is a tie.
    """

    question: str
    a: str
    b: str
    first: Side
    equal: bool


@dataclass(frozen=True)
class Item:
    """A page of a sheet: the key to it, and the texts to compare."""

    key: KeyItem
    question: str
    reference: str
    answer_1: str
    answer_2: str


def draw_items(
    examples: Sequence[Example],
    answers: Mapping[str, Mapping[str, Prediction]],
    pairs: Sequence[tuple[str, str]],
    *,
    questions: int,
    both_orders: bool,
    seed: int,
) -> list[Item]:
    """Items for `questions` questions and every pair, in the order of the key file.

    The questions are those of lowest hash(seed, id): a larger number keeps the smaller one's. both_orders:
    each pair twice, once in each order; else once, in an order drawn for it. Raises ValueError where there
    are fewer questions, or a pair is no pair.
    """
    if not 1 <= questions <= len(examples):
        raise ValueError(f"--questions is {questions}; expected 1 to {len(examples)}, all there are")
    if len({frozenset(pair) for pair in pairs}) != len(pairs):
        raise ValueError("the same pair of systems is asked for twice; name each once")
    drawn = sorted(examples, key=lambda example: digest(seed, "annotate", example.id))[:questions]
    items = []
    for example, (a, b) in itertools.product(drawn, pairs):
        texts = [answers[system][example.id].answer.strip() for system in (a, b)]
        equal = texts[0] == texts[1]
        sides: list[Side] = ["a", "b"]
        record_rng(seed, "annotate/order", f"{example.id}/{a}-{b}").shuffle(sides)
        for first in sides if both_orders and not equal else sides[:1]:
            one, two = texts if first == "a" else reversed(texts)
            # Opaque, and another one when an answer changes: a sheet never meets the wrong key.
            # The prefix keeps spreadsheets from reading it as a number.
            name = f"item-{digest(seed, example.id, (a, b), first, one, two)[:10]}"
            key = KeyItem(id=name, question=example.id, a=a, b=b, first=first, equal=equal)
            items.append(Item(key, example.question, example.answer, one, two))
    return items


def sheet_order(items: Sequence[Item], annotator: int, seed: int) -> list[Item]:
    """The items one annotator is asked, shuffled; equal answers are not asked.

    With both orders the second of a pair comes only after every pair was seen once, so that it is not
    judged from memory of the page before.
    """
    asked = [item for item in items if not item.key.equal]
    random = record_rng(seed, "annotate/sheet", str(annotator))
    random.shuffle(asked)
    seen: set[tuple[str, str, str]] = set()
    first: list[Item] = []
    second: list[Item] = []
    for item in asked:
        pair = (item.key.question, item.key.a, item.key.b)
        (second if pair in seen else first).append(item)
        seen.add(pair)
    return first + second
