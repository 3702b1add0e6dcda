"""A server on loopback that judges as the closed world's truth does, and the world that it knows.

The oracle reads the prompts of prompts/*.txt back and answers from the ground truth, so what the LLM path
of the evaluation makes of its replies can be compared with the exact verifier's counts.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from typing import Any

from knowtuning.core.records import Example, Prediction
from knowtuning.core.storage import record_rng
from knowtuning.knowledge.aspects import ASPECTS
from knowtuning.systems import SYSTEMS
from knowtuning.world.questions import held_out_questions
from knowtuning.world.towns import Town, make_towns
from knowtuning.world.verifier import Truth
from knowtuning.world.wording import read_sentence, read_text, say
from tests.support.fault_server import Answer, Call, says
from tests.support.records import prediction

_BLOCK = re.compile(r"\n\n(?=[A-Z][a-z ]+:\n)")
_SENTENCE_END = re.compile(r"(?<=\.)\s+")

Twist = Callable[[Call, Answer], Answer]


def sections(user: str) -> dict[str, str]:
    """The parts of a user message by their headings; answers of the world have no empty lines."""
    parts = [block.partition(":\n") for block in _BLOCK.split(user)]
    result = {heading: text for heading, _, text in parts}
    aspect = re.match(r"Aspect: (\w+)$", user.splitlines()[0])
    return result | ({"Aspect": aspect[1]} if aspect else {})


def entries(text: str) -> list[str]:
    """The entries of a numbered list; facts of the world have one line."""
    return [line.partition(". ")[2] for line in text.splitlines()]


def numbered(name: str, values: Sequence[Any]) -> list[dict[str, Any]]:
    """What is said of each entry of a list, as a reply gives it."""
    return [{"number": n, "reason": "Looked up.", name: value} for n, value in enumerate(values, 1)]


def share(call: Call, purpose: str) -> float:
    """A number in 0..1 that depends on what is asked (not on the correction of a reply) and on `purpose`."""
    text = purpose + call.messages[1]["content"]
    return int(hashlib.sha256(text.encode()).hexdigest()[:8], 16) / 16**8


class Oracle:
    """The script of a FaultServer. twist: changes the right answer to a call."""

    def __init__(
        self, truth: Truth, examples: list[Example], twist: Twist = lambda call, answer: answer
    ) -> None:
        self.truth = truth
        self.by_question = {example.question: example for example in examples}
        self.twist = twist
        self.asked: list[str] = []

    def __call__(self, call: Call) -> Answer:
        return self.twist(call, says(json.dumps(self.reply(call))))

    def reply(self, call: Call) -> dict[str, Any]:
        output = sections(call.messages[1]["content"])
        example = self.by_question[output["Question"]]
        if "Aspect" in output:
            self.asked.append("judge")
            first, second = (self.truth.verify(example, output[f"{n} answer"]) for n in ("First", "Second"))
            return {"reason": "Counted.", "verdict": ASPECTS[output["Aspect"]].prefer(first, second)}
        if "Facts to check" in output:
            self.asked.append("verify")
            verdicts = [self._verdict(example, fact) for fact in entries(output["Facts to check"])]
            return {"verdicts": numbered("verdict", verdicts)}
        if "Facts to look for" in output:
            self.asked.append("recall")
            stated = {read_sentence(part) for part in _SENTENCE_END.split(output["Answer to look in"])}
            known = {(s.entity, s.attribute, s.value) for s in stated if s is not None}
            wanted = [read_sentence(fact) for fact in entries(output["Facts to look for"])]
            there = [w is not None and (w.entity, w.attribute, w.value) in known for w in wanted]
            return {"facts": numbered("stated", there)}
        self.asked.append("extract")
        return {"facts": _SENTENCE_END.split(output["Answer to break into atomic facts"].strip())}

    def _verdict(self, example: Example, fact: str) -> str:
        output = read_sentence(fact)
        if output is None:
            return "not_supported"
        if not self.truth.holds(output.entity, output.attribute, output.value):
            return "contradicted"
        return "supported" if output.entity == example.meta["entity"] else "not_supported"


def facts_of(text: str) -> list[tuple[str, str, str]]:
    """(town, attribute, value) of all that a text states; it may hold nothing else."""
    clauses = list(read_text(text))
    assert clauses
    assert all(statement for _, statement in clauses), clauses
    return [(s.entity, s.attribute, s.value) for _, s in clauses if s]


def small_world(towns: int) -> tuple[Truth, list[Example]]:
    """A truth and three questions for each town, with full reference answers."""
    known = make_towns(towns, record_rng(1, "towns", ""))
    asked = held_out_questions(list(known), [], known, set(), record_rng(1, "questions", ""))
    return Truth(known), asked


def answers_of(truth: Truth, examples: list[Example]) -> dict[str, list[Prediction]]:
    """Answers of mixed quality: true, false, repeated and unreadable sentences in random order.

    A true fact is always worded alike, so that a repetition is one word for word.
    """
    return {system: [_prediction(truth, example, system) for example in examples] for system in SYSTEMS}


def _prediction(truth: Truth, example: Example, system: str) -> Prediction:
    rng = record_rng(2, system, example.id)
    entity = str(example.meta["entity"])
    town: Town = truth.towns[entity]
    likely = 0.4 + 0.15 * list(SYSTEMS).index(system)
    messages = [a for a in example.meta["attributes"] if rng.random() < likely]
    parts = [say(a, 0, entity, town[a] if rng.random() < 0.8 else "Nowhere") for a in messages]
    if parts and rng.random() < 0.2:
        parts.append(parts[0])
    if rng.random() < 0.2:
        parts.append("It is a fine place.")
    if rng.random() < 0.5:
        rng.shuffle(parts)
    return prediction(example.id, " ".join(parts), example.question)
