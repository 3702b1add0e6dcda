"""How other trainers write their training rows: an entry a format, each with the page that describes it.

A template is a row with slots in the place of its texts. It is filled to write a row and matched to read one,
so that what was exported can be imported.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeAlias

from knowtuning.data.rows import type_name


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


def match(template: Template, row: Any, place: str = "") -> dict[str, Any]:
    """Place -> value of every slot for which the row has one; values are not checked.

    Raises ValueError, naming the place, where the row is of another shape. Further columns do not count.
    """
    if isinstance(template, Slot):
        return {place: row}
    if isinstance(template, str):
        if row != template:
            raise ValueError(f"{place}: found {row!r}, expected {template!r}")
        return {}
    if isinstance(template, dict):
        return _match_object(template, row, place)
    if not isinstance(row, list) or len(row) != len(template):
        found = f"{len(row)} entries" if isinstance(row, list) else type_name(row)
        raise ValueError(f"{place}: found {found}, expected an array of {len(template)}")
    parts = [match(part, row[index], f"{place}[{index}]") for index, part in enumerate(template)]
    return {where: value for part in parts for where, value in part.items()}


def _match_object(template: dict[str, Template], row: Any, place: str) -> dict[str, Any]:
    if not isinstance(row, dict):
        raise ValueError(f"{place or 'row'}: found {type_name(row)}, expected {', '.join(template)}")
    found: dict[str, Any] = {}
    for name, part in template.items():
        if name in row:
            found |= match(part, row[name], _below(place, name))
        elif not isinstance(part, Slot):
            raise ValueError(
                f"{_below(place, name)}: not there; found {', '.join(map(str, row)) or 'nothing'}"
            )
    return found


def places(template: Template, place: str = "") -> dict[Slot, str]:
    """Where each slot stands, as `match` writes it: `prompt[0].content`."""
    return dict(_places(template, place))


def _places(template: Template, place: str) -> Iterator[tuple[Slot, str]]:
    if isinstance(template, Slot):
        yield template, place
    elif isinstance(template, dict):
        for name, part in template.items():
            yield from _places(part, _below(place, name))
    elif isinstance(template, list):
        for index, part in enumerate(template):
            yield from _places(part, f"{place}[{index}]")


def _below(place: str, name: str) -> str:
    return f"{place}.{name}" if place else name


def _said(role: str, text: Slot) -> Template:
    return {"role": role, "content": text}


_ASKED = _said("user", Slot.QUESTION)
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
        answered={"prompt": [_ASKED], "completion": [_said("assistant", Slot.ANSWER)]},
        pair={
            "prompt": [_ASKED],
            "chosen": [_said("assistant", Slot.CHOSEN)],
            "rejected": [_said("assistant", Slot.REJECTED)],
        },
    ),
    # `type: chat_template`, and `type: chat_template.default` with `rl: dpo`.
    "axolotl": Format(
        "https://docs.axolotl.ai/docs/rlhf.html and https://docs.axolotl.ai/docs/dataset-formats/conversation.html",
        answered={"messages": [_ASKED, _said("assistant", Slot.ANSWER)]},
        pair={
            "messages": [_ASKED],
            "chosen": _said("assistant", Slot.CHOSEN),
            "rejected": _said("assistant", Slot.REJECTED),
        },
    ),
}
