"""How other trainers write their training rows: an entry a format, each with the page that describes it.

A template is a row with slots in the place of its texts. It is filled to write a row and matched to read one,
so that what was exported can be imported.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeAlias

from knowtuning.data.readers import type_name


class Slot(Enum):
    """Where a text stands. CONTEXT is written empty, and joined to the question when it is read."""

    QUESTION = 1
    CONTEXT = 2
    ANSWER = 3
    CHOSEN = 4
    REJECTED = 5


Template: TypeAlias = "Slot | str | list[Template] | dict[str, Template]"


@dataclass(frozen=True)
class Format:
    """The rows of a trainer. page: where it describes them. answered: a question with its answer. pair: a
    preference pair."""

    page: str
    answered: Template
    pair: Template


def fill(template: Template, texts: Mapping[Slot, str]) -> Any:
    """The row that holds the texts; a slot without one is empty."""
    if isinstance(template, Slot):
        return texts.get(template, "")
    if isinstance(template, dict):
        return {name: fill(part, texts) for name, part in template.items()}
    return [fill(part, texts) for part in template] if isinstance(template, list) else template


def match(template: Template, row: Any, path: str = "") -> dict[str, Any]:
    """Path -> value of every slot for which the row has one; values are not checked.

    Raises ValueError, naming the path, where the row is of another shape. Further columns do not count.
    """
    if isinstance(template, Slot):
        return {path: row}
    if isinstance(template, str):
        if row != template:
            raise ValueError(f"{path}: found {row!r}, expected {template!r}")
        return {}
    if isinstance(template, dict) and not isinstance(row, dict):
        raise ValueError(f"{path or 'row'}: found {type_name(row)}, expected {', '.join(template)}")
    if isinstance(template, list) and not (isinstance(row, list) and len(row) == len(template)):
        kind = f"{len(row)} entries" if isinstance(row, list) else type_name(row)
        raise ValueError(f"{path}: found {kind}, expected an array of {len(template)}")
    values: dict[str, Any] = {}
    for key, below, part in _parts(template, path):
        if isinstance(row, list) or key in row:
            values |= match(part, row[key], below)
        elif not isinstance(part, Slot):
            raise ValueError(f"{below}: not there; found {', '.join(map(str, row)) or 'nothing'}")
    return values


def slot_paths(template: Template, path: str = "") -> dict[Slot, str]:
    """Where each slot stands, as `match` writes it: `prompt[0].content`."""
    if isinstance(template, Slot):
        return {template: path}
    parts = [] if isinstance(template, str) else _parts(template, path)
    return {slot: where for _, below, part in parts for slot, where in slot_paths(part, below).items()}


def _parts(template: list[Template] | dict[str, Template], path: str) -> list[tuple[Any, str, Template]]:
    """Key, path and template of every part of an array or object."""
    if isinstance(template, list):
        return [(index, f"{path}[{index}]", part) for index, part in enumerate(template)]
    return [(name, f"{path}.{name}" if path else name, part) for name, part in template.items()]


def _turn(role: str, text: Slot) -> Template:
    return {"role": role, "content": text}


_USER = _turn("user", Slot.QUESTION)
_INSTRUCTION: dict[str, Template] = {"instruction": Slot.QUESTION, "input": Slot.CONTEXT}
_ALPACA: Template = {**_INSTRUCTION, "output": Slot.ANSWER}

FORMATS: dict[str, Format] = {
    "llama-factory": Format(
        "https://github.com/hiyouga/LLaMA-Factory/blob/main/data/README.md",
        answered=_ALPACA,
        pair={**_INSTRUCTION, "chosen": Slot.CHOSEN, "rejected": Slot.REJECTED},
    ),
    # Before it had columns for chosen and rejected, as in llmtuner 0.5.3; the paper's files are written so.
    "llama-factory-old": Format(
        "https://huggingface.co/datasets/mayflowergmbh/intel_orca_dpo_pairs_de/discussions/4",
        answered=_ALPACA,
        pair={**_INSTRUCTION, "output": [Slot.CHOSEN, Slot.REJECTED]},
    ),
    # The conversational forms of prompt-completion and of preference with an explicit prompt.
    "trl": Format(
        "https://huggingface.co/docs/trl/dataset_formats",
        answered={"prompt": [_USER], "completion": [_turn("assistant", Slot.ANSWER)]},
        pair={
            "prompt": [_USER],
            "chosen": [_turn("assistant", Slot.CHOSEN)],
            "rejected": [_turn("assistant", Slot.REJECTED)],
        },
    ),
    # `type: chat_template`, and `type: chat_template.default` with `rl: dpo`.
    "axolotl": Format(
        "https://docs.axolotl.ai/docs/rlhf.html and https://docs.axolotl.ai/docs/dataset-formats/conversation.html",
        answered={"messages": [_USER, _turn("assistant", Slot.ANSWER)]},
        pair={
            "messages": [_USER],
            "chosen": _turn("assistant", Slot.CHOSEN),
            "rejected": _turn("assistant", Slot.REJECTED),
        },
    ),
}
