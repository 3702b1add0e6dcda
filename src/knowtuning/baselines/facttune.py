"""FactTune (Tian et al. 2023): DPO on sampled answers, ranked by an estimate of how factual each is.

FS scores an answer by the share of its facts that a verifier finds supported; MC by how sure the base model
is of what they are about (3.2): the teacher turns each fact into a question, the base model answers it
several times, answers that say the same go into one bin, and the confidence is the share of the largest bin.
Samples that were cut off make no pair, since training on one would teach to end there.

Deviation: the original shows the base model examples of short answers. Here every answer begins with the
words that the teacher gives as its opening, so that what follows is short with any model and any template.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from knowtuning.baselines.samples import scored_pairs
from knowtuning.core.records import FactConfidence, Pair, Sample, Verified
from knowtuning.core.text import normal_form, words
from knowtuning.teacher.english.words import pattern
from knowtuning.teacher.judging import Claims
from knowtuning.teacher.tasks import AskFact, FactList, FactQuestion, Failure, Teacher
from knowtuning.verification.answer_facts import ask_once

# Of a fact said again FActScore says what it said before.
SUPPORTED = ("correct", "duplicate")
_ARTICLES = frozenset({"a", "an", "the"})
_STOP = re.compile(r"(?<=[.!?])\s")
_INITIAL = re.compile(r"(?:^|[\s.])[A-Z]\.$")


@dataclass(frozen=True)
class Ranked:
    """What ranking came to. without: questions that give no pair, by reason."""

    pairs: list[Pair]
    without: Counter[str]


def supported_share(row: Verified) -> float | None:
    """Share (0..1) of the facts of an answer that are supported; None without facts or without verdicts."""
    if not row.sentences or row.unscored:
        return None
    return sum(one.verdict in SUPPORTED for one in row.sentences) / len(row.sentences)


def mean_confidence(facts: Sequence[str], confidences: Mapping[str, float]) -> float | None:
    """Mean confidence (0..1) of an answer's facts, of those that have one; None where none has."""
    known = [confidences[fact] for fact in facts if fact in confidences]
    return fmean(known) if known else None


def rank(
    baseline: str,
    samples: Mapping[str, Sequence[Sample]],
    scores: Mapping[str, float],
    *,
    most: int,
    seed: int,
) -> Ranked:
    """The pairs of each question; scores: by id of the sample; most: of one question."""
    pairs: list[Pair] = []
    without: Counter[str] = Counter()
    for group in samples.values():
        whole = [sample for sample in group if not sample.truncated]
        made = scored_pairs(baseline, whole, scores, most=most, seed=seed)
        pairs += made
        if not made:
            scored = sum(sample.id in scores for sample in whole)
            without["all_scores_equal" if scored > 1 else "less_than_two_scored"] += 1
    return Ranked(pairs, without)


@dataclass(frozen=True)
class SampleFacts:
    """What samples state. facts: of each sample by its id; failures: why a sample has none, by its id."""

    facts: dict[str, list[str]]
    failures: dict[str, Failure]


@dataclass(frozen=True)
class Asked:
    """A fact of a question's samples with the question that asks for it, or why there is none."""

    source: str
    text: str
    reply: FactQuestion | Failure


def state(samples: Sequence[Sample], teacher: Teacher) -> SampleFacts:
    """Have the teacher split the samples into facts; of an empty one it is not asked."""
    asked = [sample for sample in samples if sample.answer.strip()]
    tasks = [Claims(id=sample.id, question=sample.question, answer=sample.answer) for sample in asked]
    facts: dict[str, list[str]] = {sample.id: [] for sample in samples}
    failures: dict[str, Failure] = {}
    for sample, outcome in zip(asked, ask_once(teacher, tasks), strict=True):
        if isinstance(outcome, Failure):
            failures[sample.id] = outcome
        else:
            assert isinstance(outcome, FactList)
            # Said twice, it is one fact.
            facts[sample.id] = list({normal_form(fact): fact for fact in outcome.facts}.values())
    return SampleFacts(facts, failures)


def ask_for_facts(samples: Sequence[Sample], stated: SampleFacts, teacher: Teacher) -> list[Asked]:
    """A question for every fact of the samples, asked for once a training question."""
    wanted = {(each.source, fact): each.question for each in samples for fact in stated.facts[each.id]}
    tasks = [
        AskFact(id=f"{source}/{number}", question=question, fact=fact)
        for number, ((source, fact), question) in enumerate(wanted.items())
    ]
    outcomes = ask_once(teacher, tasks)
    asked = []
    for (source, fact), outcome in zip(wanted, outcomes, strict=True):
        assert isinstance(outcome, FactQuestion | Failure)
        asked.append(Asked(source, fact, outcome))
    return asked


def short_answer(text: str) -> str:
    """The first sentence of the first line, which is where a short answer ends.

    A full stop behind an initial or an abbreviation ends none: St. Louis and St. Paul are two answers.
    """
    line = text.strip().partition("\n")[0].strip()
    begins = (line[: stop.start()] for stop in _STOP.finditer(line))
    ends = (part for part in begins if not (_INITIAL.search(part) or pattern("abbreviation").search(part)))
    return next(ends, line)


def _form(answer: str) -> tuple[str, ...]:
    """The words that count: without case, punctuation, articles and plural s."""
    return tuple(word.removesuffix("s") or word for word in words(answer) if word not in _ARTICLES)


def _same(one: tuple[str, ...], other: tuple[str, ...]) -> bool:
    """Whether two forms say the same: equal sets of words, or one opens or closes the other."""
    short, long = sorted((one, other), key=len)
    if not short:
        return not long
    return set(one) == set(other) or short in (long[: len(short)], long[-len(short) :])


def bins(answers: Iterable[str]) -> dict[str, int]:
    """How often each answer came, under the first of its bin; an answer joins the first bin it agrees with.

    Deviation: an answer that opens another agrees with it too, since what follows an opening begins with what
    is asked for; the original has the closing words alone.
    """
    counts: dict[str, int] = {}
    for answer in answers:
        form = _form(answer)
        first = next((known for known in counts if _same(form, _form(known))), answer)
        counts[first] = counts.get(first, 0) + 1
    return counts


def confidence(counts: Mapping[str, int]) -> float:
    """Share (0..1) of the largest bin; an empty answer is none, but counts as an answer."""
    largest = max((count for answer, count in counts.items() if _form(answer)), default=0)
    return largest / sum(counts.values())


def confidences(
    asked: Sequence[Asked], answers: Mapping[tuple[str, str], Sequence[str]]
) -> Iterator[FactConfidence]:
    """The confidence of each fact that has a question; answers: by question and opening."""
    for number, each in enumerate(asked):
        if isinstance(each.reply, Failure):
            continue
        reply = each.reply
        counts = bins(map(short_answer, answers[reply.question, reply.opening]))
        yield FactConfidence(
            id=f"{each.source}/{number:06}",
            source=each.source,
            text=each.text,
            question=reply.question,
            opening=reply.opening,
            answers=counts,
            confidence=round(confidence(counts), 4),
        )
