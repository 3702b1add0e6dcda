"""The data of the answer browser: questions, references, the systems' answers and the verdicts on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from knowtuning.core.records import Example, Prediction, Scores, Sentence
from knowtuning.core.tables import entry
from knowtuning.core.text import word_spans
from knowtuning.evaluation.metrics import label, leading, metric
from knowtuning.evaluation.verdict import in_a_sentence
from knowtuning.report.charts import position
from knowtuning.report.inputs import Inputs
from knowtuning.systems import BASELINE, METHOD

# Verdict on a fact -> its label, its CSS class (good, bad, open, again, none) and a glyph.
LOOKS = {
    "correct": ("correct", "good", "✓"),
    "incorrect": ("incorrect", "bad", "✗"),
    "unparsed": ("unreadable", "open", "?"),
    "unverifiable": ("unverifiable", "open", "?"),
    "duplicate": ("repeated", "again", "="),
    "unscored": ("unscored", "none", "–"),
}
RUN = 4  # words, as in the score `repeated`


def browser_data(inputs: Inputs) -> dict[str, Any]:
    """A JSON value; lists and positions in place of names keep it small.

    systems, verdicts, metrics, groups and judged name the positions, method and baseline are some of them;
    colours: CSS classes of the systems; leading: metrics to order questions by. A question is {i: id,
    q: question, r: reference, g: strata, a: answers, j: judgements}; an answer is {f: [[fact, verdict], ...],
    s: scores, t: text}, without t where the facts are the sentences of the text, with x: 1 where it was cut
    off and e: [[start, end], ...], what it repeats (`repeats`); a judgement is [pair, aspect, outcome], with
    a reason where it has one; u of an answer says why facts have no verdict; a fact for which passages were
    retrieved has their [[title, score], ...] too.
    """
    rows = [row for mine in inputs.scores.values() for row in mine.values()]
    verdicts = list(dict.fromkeys(sentence.verdict for row in rows for sentence in row.sentences))
    first = next(iter(inputs.scores.values()))[inputs.examples[0].id]
    pairs = list(dict.fromkeys((each.a, each.b) for each in inputs.judgements))
    aspects = list(dict.fromkeys(each.aspect for each in inputs.judgements))
    judged: dict[str, list[Any]] = {}
    for each in inputs.judgements:
        row = [pairs.index((each.a, each.b)), aspects.index(each.aspect), each.outcome]
        judged.setdefault(each.question, []).append([*row, *filter(None, [each.reason])])
    questions = [_question(each, inputs, verdicts, list(first.scores)) for each in inputs.examples]
    return {
        "systems": inputs.systems,
        "colours": [f"s-{position(system)}" for system in inputs.systems],
        "method": inputs.systems.index(METHOD),
        "baseline": inputs.systems.index(BASELINE),
        "leading": leading(list(first.scores)),
        "verdicts": [
            dict(zip(("label", "kind", "mark"), entry(LOOKS, name, "verdict"), strict=True))
            for name in verdicts
        ],
        "metrics": [
            {"name": name, "label": in_a_sentence(label(name)), "percent": metric(name).unit == "%"}
            for name in first.scores
        ],
        "groups": list(first.groups),
        "pairs": [f"{a}–{b}" for a, b in pairs],
        "aspects": aspects,
        "questions": [each | ({"j": judged[each["i"]]} if each["i"] in judged else {}) for each in questions],
    }


def _question(
    example: Example, inputs: Inputs, verdicts: Sequence[str], metrics: Sequence[str]
) -> dict[str, Any]:
    rows = {system: mine[example.id] for system, mine in inputs.scores.items()}
    return {
        "i": example.id,
        "q": example.question,
        "r": example.answer,
        "g": list(next(iter(rows.values())).groups.values()),
        "a": [
            _answer(inputs.predictions[system][example.id], row, verdicts, metrics)
            for system, row in rows.items()
        ],
    }


def _fact(sentence: Sentence, verdicts: Sequence[str]) -> list[Any]:
    passages = [[each.title, each.score] for each in sentence.evidence]
    return [sentence.text, verdicts.index(sentence.verdict), *filter(None, [passages])]


def _answer(
    prediction: Prediction, row: Scores, verdicts: Sequence[str], metrics: Sequence[str]
) -> dict[str, Any]:
    scores = [row.scores.get(name) for name in metrics]
    answer: dict[str, Any] = {
        "f": [_fact(sentence, verdicts) for sentence in row.sentences],
        "s": [None if score is None else round(score, 1) for score in scores],
    }
    text = " ".join(sentence.text for sentence in row.sentences)
    if text.split() != prediction.answer.split():
        text = answer["t"] = prediction.answer
    further: Mapping[str, Any] = {"u": list(row.unscored), "x": int(prediction.truncated), "e": repeats(text)}
    return answer | {key: value for key, value in further.items() if value}


def repeats(text: str) -> list[list[int]]:
    """[start, end] of what stood in the text before, in runs of RUN words and more.

    Positions are those of JavaScript, which counts a character beyond U+FFFF as two.
    """
    words = word_spans(text)
    seen: set[tuple[str, ...]] = set()
    again: list[list[int]] = []  # of words: first, and the one behind the last
    for first in range(len(words) - RUN + 1):
        run = tuple(word.word for word in words[first : first + RUN])
        if run in seen:
            if again and first <= again[-1][1]:
                again[-1][1] = first + RUN
            else:
                again.append([first, first + RUN])
        seen.add(run)
    places = [(words[first].start, words[end - 1].end) for first, end in again]
    return [[len(text[:at].encode("utf-16-le")) // 2 for at in span] for span in places]
