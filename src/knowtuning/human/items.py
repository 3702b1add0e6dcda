"""What annotators see: pairs of answers in both orders, without the systems' names, in a random order."""

from __future__ import annotations

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
    for pair in pairs:
        if pair[0] == pair[1] or not set(pair) <= answers.keys():
            raise ValueError(f"pair {pair[0]}-{pair[1]}: expected two different ones of {', '.join(answers)}")
    if len({frozenset(pair) for pair in pairs}) != len(pairs):
        raise ValueError("the same pair of systems is asked for twice; name each once")
    drawn = sorted(examples, key=lambda example: digest(seed, "annotate", example.id))[:questions]
    return [
        item
        for example in drawn
        for pair in pairs
        for item in _orders(example, pair, answers, both_orders=both_orders, seed=seed)
    ]


def _orders(
    example: Example,
    pair: tuple[str, str],
    answers: Mapping[str, Mapping[str, Prediction]],
    *,
    both_orders: bool,
    seed: int,
) -> list[Item]:
    """A pair in one order or both; once where the answers are equal."""
    texts = {
        "a": answers[pair[0]][example.id].answer.strip(),
        "b": answers[pair[1]][example.id].answer.strip(),
    }
    equal = texts["a"] == texts["b"]
    sides: list[Side] = ["a", "b"]
    record_rng(seed, "annotate/order", f"{example.id}/{pair[0]}-{pair[1]}").shuffle(sides)
    pages = []
    for first in sides if both_orders and not equal else sides[:1]:
        one, two = (texts["a"], texts["b"]) if first == "a" else (texts["b"], texts["a"])
        # Opaque, and another one when an answer changes: a sheet never meets the wrong key.
        # The prefix keeps spreadsheets from reading it as a number.
        name = f"item-{digest(seed, example.id, pair, first, one, two)[:10]}"
        key = KeyItem(id=name, question=example.id, a=pair[0], b=pair[1], first=first, equal=equal)
        pages.append(Item(key, example.question, example.answer, one, two))
    return pages


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
