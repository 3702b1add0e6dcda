"""A knowledge source for verification: the passages that a fact is held against, retrieved by BM25.

As in FActScore (Min et al. 2023, 3.2) and long-form factuality after it, with a file of the user's own in the
place of Wikipedia.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from knowtuning.config.verify import TRAIN, JudgedBy, JudgeParams, check_knowledge
from knowtuning.core.records import Evidence, Example, iter_jsonl, parsed
from knowtuning.core.storage import open_text
from knowtuning.core.text import content_words, word_spans

_EXPECTED = 'expected lines of {"title": …, "text": …}, both text'
_WORDS = 150  # of a passage; longer texts are cut behind a word


class Passage(BaseModel):
    """A row of the knowledge source, or a part of one. Further columns do not count."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    title: str
    text: str = Field(min_length=1)


class KnowledgeSource:
    """Passages in an index; `most` of them are retrieved for a fact."""

    def __init__(self, passages: Sequence[Passage], most: int) -> None:
        import bm25s

        self._passages, self._most = passages, most
        # Lucene's form of BM25 with its customary k1 = 1.5, b = 0.75; nothing compiled, so that equal inputs
        # have equal scores wherever numba is installed or not.
        self._index = bm25s.BM25(method="lucene", auto_compile=False)
        texts = [content_words(f"{each.title} {each.text}") for each in passages]
        self._index.index(texts, show_progress=False)
        self.closest = lru_cache(maxsize=None)(self._closest)

    def _closest(self, question: str, fact: str) -> list[tuple[Passage, Evidence]]:
        """The passages that share most with a fact and its question, closest first, of two as close the
        earlier one; none that shares no word."""
        query = content_words(f"{question} {fact}")
        scores = self._index.get_scores(query) if query else np.zeros(0)
        order = np.argsort(-scores, kind="stable")[: self._most]
        ranked = [(self._passages[index], round(float(scores[index]), 4)) for index in order]
        return [(each, Evidence(title=each.title, score=score)) for each, score in ranked if score > 0]

    def passages(self, question: str, facts: Sequence[str]) -> tuple[str, ...]:
        """What is retrieved for facts, each passage once, with its title."""
        texts = (each for fact in facts for each, _ in self.closest(question, fact))
        return tuple(dict.fromkeys(f"{each.title}: {each.text}" for each in texts))

    def evidence(self, question: str, fact: str) -> list[Evidence]:
        """Titles and scores of what is retrieved for a fact."""
        return [evidence for _, evidence in self.closest(question, fact)]


def knowledge_source(judge: JudgeParams | JudgedBy, train: Path) -> KnowledgeSource | None:
    """The source that `judge.knowledge` names, or None; train: the training examples.

    Raises ValueError where nobody would read it, for a bad row and for a file without rows.
    """
    path = judge.knowledge.path
    if path is None:
        return None
    check_knowledge(judge)
    if path == TRAIN:
        # Training answers under their questions.
        rows = [Passage(title=each.question, text=each.answer) for each in iter_jsonl(train, Example)]
    else:
        rows = list(_read(Path(path)))
    if not rows:
        raise ValueError(f"{path}: found no row; {_EXPECTED}")
    return KnowledgeSource([part for row in rows for part in _parts(row)], judge.knowledge.passages)


def _read(path: Path) -> Iterator[Passage]:
    try:
        # As a user's file of questions is read: a byte-order mark and blank lines are no rows.
        with open_text(path, encoding="utf-8-sig") as stream:
            for number, line in enumerate(stream, 1):
                if line.strip():
                    yield parsed(line, Passage.model_validate_json, f"{path}:{number}", _EXPECTED)
    except FileNotFoundError as error:
        raise ValueError(f"judge.knowledge.path: {path} not found; expected a JSONL file") from error


def _parts(row: Passage) -> Iterator[Passage]:
    """A row in passages of _WORDS words."""
    spans = word_spans(row.text)
    starts = [0, *(spans[index].start for index in range(_WORDS, len(spans), _WORDS)), len(row.text)]
    for start, end in pairwise(starts):
        yield Passage(title=row.title, text=row.text[start:end].strip() or row.text)
