"""The data of the answer browser: questions, references, the systems' answers and the verdicts on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from knowtuning.core.records import Example, Prediction, Scores, Sentence
from knowtuning.evaluation.metrics import label, leading
from knowtuning.report.inputs import Inputs
from knowtuning.report.wording import colour, look
from knowtuning.systems import BASELINE


def browser_data(inputs: Inputs) -> dict[str, Any]:
    """A JSON value; lists and positions in place of names keep it small.

    systems, verdicts, metrics, groups and judged name the positions, method and baseline are some of them;
    colours: CSS classes of the systems; leading: metrics to order questions by. A question is {i: id,
    q: question, r: reference, g: strata, a: answers, j: judgements}; an answer is {f: [[fact, verdict], ...],
    s: scores, t: text}, without t where the facts are the sentences of the text; a judgement is [pair,
    aspect, outcome], with a reason where it has one; u of an answer says why facts have no verdict; a fact
    for which passages were retrieved has their [[title, score], ...] too.
    """
    names = list(dict.fromkeys(s.verdict for rows in inputs.scores.values() for s in _sentences(rows)))
    first = next(iter(inputs.scores.values()))[inputs.examples[0].id]
    pairs = list(dict.fromkeys((str(each["a"]), str(each["b"])) for each in inputs.judgements))
    aspects = list(dict.fromkeys(str(each["aspect"]) for each in inputs.judgements))
    judged = _judged(inputs.judgements, pairs, aspects)
    looks = [look(name) for name in names]
    return {
        "systems": inputs.systems,
        "colours": [colour(system) for system in inputs.systems],
        "method": inputs.systems.index(inputs.method),
        "baseline": inputs.systems.index(BASELINE),
        "leading": leading(list(first.scores)),
        "verdicts": [{"label": each.label, "kind": each.kind, "mark": each.mark} for each in looks],
        "metrics": [{"name": name, "label": label(name)} for name in first.scores],
        "groups": list(first.groups),
        "pairs": [f"{a}–{b}" for a, b in pairs],
        "aspects": aspects,
        "questions": [_question(each, inputs, names, judged.get(each.id, [])) for each in inputs.examples],
    }


def _sentences(rows: Mapping[str, Scores]) -> list[Any]:
    return [sentence for row in rows.values() for sentence in row.sentences]


def _judged(
    records: Sequence[Mapping[str, Any]], pairs: list[tuple[str, str]], aspects: list[str]
) -> dict[str, list[list[Any]]]:
    """Question id -> [[pair, aspect, outcome], ...], and the reason where there is one."""
    found: dict[str, list[list[Any]]] = {}
    for each in records:
        place = [pairs.index((each["a"], each["b"])), aspects.index(each["aspect"]), each["outcome"]]
        found.setdefault(each["question"], []).append(
            [*place, each["reason"]] if each.get("reason") else place
        )
    return found


def _question(
    example: Example, inputs: Inputs, verdicts: Sequence[str], judged: list[list[Any]]
) -> dict[str, Any]:
    metrics = list(next(iter(inputs.scores.values()))[inputs.examples[0].id].scores)
    answers = [
        _answer(inputs.predictions[system][example.id], rows[example.id], verdicts, metrics)
        for system, rows in inputs.scores.items()
    ]
    groups = list(next(iter(inputs.scores.values()))[example.id].groups.values())
    found = {"i": example.id, "q": example.question, "r": example.answer, "g": groups, "a": answers}
    return {**found, "j": judged} if judged else found


def _fact(sentence: Sentence, verdicts: Sequence[str]) -> list[Any]:
    found = [sentence.text, verdicts.index(sentence.verdict)]
    return [*found, [[each.title, each.score] for each in sentence.evidence]] if sentence.evidence else found


def _answer(
    given: Prediction, row: Scores, verdicts: Sequence[str], metrics: Sequence[str]
) -> dict[str, Any]:
    facts = [_fact(sentence, verdicts) for sentence in row.sentences]
    scores = [row.scores.get(name) for name in metrics]
    found: dict[str, Any] = {"f": facts, "s": [None if s is None else round(s, 1) for s in scores]}
    if row.unscored:
        found["u"] = list(row.unscored)
    whole = " ".join(sentence.text for sentence in row.sentences)
    return found if whole.split() == given.answer.split() else {**found, "t": given.answer}
