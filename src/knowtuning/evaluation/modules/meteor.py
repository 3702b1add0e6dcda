"""METEOR as a module of the `evaluate` library: NLTK's score with the parameters of `evaluate`'s own.

Load it by its absolute path. It needs neither a network nor NLTK's sentence model.
"""

from __future__ import annotations

import functools
import re
from typing import Any

from nltk.corpus import wordnet
from nltk.stem.porter import PorterStemmer
from nltk.tokenize.destructive import NLTKWordTokenizer
from nltk.translate.meteor_score import single_meteor_score

from knowtuning.core.text import is_latin, words
from knowtuning.evaluation.modules import TextMetric

_DESCRIPTION = """METEOR (Lavie and Agarwal, 2007) with alpha 0.9, beta 3, gamma 0.5, as NLTK computes it:
exact, then stem, then synonym matches, where synonyms are looked up for the *stems* that NLTK passes on.
Deviation: sentences are split by rule before the words are, not by the trained Punkt model, so the token
of an abbreviation inside a sentence can differ. Texts with letters that are not Latin are split into words,
or characters where no spaces are."""
_INPUTS = """predictions, references: texts, one of each per item.
synonyms: match synonyms through WordNet, which NLTK must be able to find.
Returns meteor, the mean in 0..1, and scores, one per item."""
_SENTENCE_END = re.compile(r"""(?:(?<=[.!?])|(?<=[.!?]["')\]]))\s+(?=["'(\[]*[A-Z0-9])""")


@functools.cache
def _tokenizer() -> NLTKWordTokenizer:
    return NLTKWordTokenizer()


@functools.lru_cache(maxsize=4096)
def tokenise(text: str) -> tuple[str, ...]:
    """Words and punctuation marks; a full stop is a token of its own at the end of a sentence."""
    if not is_latin(text):
        return tuple(words(text))
    sentences = _SENTENCE_END.split(text)
    return tuple(token for sentence in sentences for token in _tokenizer().tokenize(sentence))


class _Stemmer(PorterStemmer):  # type: ignore[misc]
    """The Porter stemmer, which is slow, with the stems it has found kept."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = functools.lru_cache(maxsize=65536)(super().stem)


class _Lemma(str):
    """A lemma as METEOR sees it: something with a name."""

    __slots__ = ()

    def name(self) -> str:
        return self


class _Synset(tuple[_Lemma, ...]):
    """A synset as METEOR sees it: something with lemmas."""

    __slots__ = ()

    def lemmas(self) -> _Synset:
        return self


class _Synonyms:
    """The part of WordNet's interface that METEOR calls, each word's look-up kept as one synset.

    METEOR takes the union of all synsets and skips names of several words, so it sees no difference.
    """

    def __init__(self) -> None:
        self._found: dict[str, tuple[_Synset, ...]] = {}

    def synsets(self, word: str) -> tuple[_Synset, ...]:
        if word not in self._found:
            names = {lemma.name() for synset in wordnet.synsets(word) for lemma in synset.lemmas()}
            self._found[word] = (_Synset(_Lemma(name) for name in sorted(names) if "_" not in name),)
        return self._found[word]


class _NoSynonyms:
    """A dictionary without entries."""

    @staticmethod
    def synsets(word: str) -> list[Any]:
        return []


@functools.cache
def _stemmer() -> _Stemmer:
    """One stemmer a process, so that the next system's answers find the stems of the last one's."""
    return _Stemmer()


@functools.cache
def _synonyms() -> _Synonyms:
    return _Synonyms()


class Meteor(TextMetric):
    """METEOR of predictions against one reference each."""

    about = _DESCRIPTION
    inputs = _INPUTS

    def _compute(
        self, predictions: list[str], references: list[str], synonyms: bool = True
    ) -> dict[str, Any]:
        stemmer, lexicon = _stemmer(), _synonyms() if synonyms else _NoSynonyms()
        scores = [
            single_meteor_score(
                tokenise(reference),
                tokenise(prediction),
                stemmer=stemmer,
                wordnet=lexicon,
                alpha=0.9,
                beta=3,
                gamma=0.5,
            )
            for prediction, reference in zip(predictions, references, strict=True)
        ]
        return {"meteor": sum(scores) / len(scores), "scores": scores}
