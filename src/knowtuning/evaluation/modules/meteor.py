"""METEOR as a module of the `evaluate` library: NLTK's score with the parameters of `evaluate`'s own.

Load it by its absolute path. It needs neither a network nor NLTK's sentence model.
"""

from __future__ import annotations

import functools
import re
from types import SimpleNamespace

from nltk.corpus import wordnet
from nltk.stem.porter import PorterStemmer
from nltk.tokenize.destructive import NLTKWordTokenizer
from nltk.translate.meteor_score import single_meteor_score

from knowtuning.core.text import is_latin, words
from knowtuning.evaluation.modules import TextMetric

_SENTENCE_END = re.compile(r"""(?:(?<=[.!?])|(?<=[.!?]["')\]]))\s+(?=["'(\[]*[A-Z0-9])""")
_TOKENIZER = NLTKWordTokenizer()
# Kept from one system's answers to the next one's: both are slow, and the words are the same.
_STEMMER = SimpleNamespace(stem=functools.lru_cache(maxsize=65536)(PorterStemmer().stem))
_synsets = functools.lru_cache(maxsize=65536)(lambda word: wordnet.synsets(word))


@functools.lru_cache(maxsize=4096)
def tokenise(text: str) -> tuple[str, ...]:
    """Words and punctuation marks; a full stop is a token of its own at the end of a sentence."""
    if not is_latin(text):
        return tuple(words(text))
    sentences = _SENTENCE_END.split(text)
    return tuple(token for sentence in sentences for token in _TOKENIZER.tokenize(sentence))


class Meteor(TextMetric):
    """METEOR (Lavie and Agarwal, 2007) with alpha 0.9, beta 3, gamma 0.5, as NLTK computes it.

    Exact, then stem, then synonym matches, where synonyms are looked up for the *stems* that NLTK passes on.
    Deviation: sentences are split by rule before the words are, not by the trained Punkt model, so the token
    of an abbreviation inside a sentence can differ. Texts with letters that are not Latin are split into
    words, or characters where no spaces are.
    predictions, references: texts, one of each per item. synonyms: match synonyms through WordNet, which NLTK
    must be able to find. Returns scores, 0..1, one per item.
    """

    def _compute(
        self, predictions: list[str], references: list[str], synonyms: bool = True
    ) -> dict[str, list[float]]:
        lexicon = SimpleNamespace(synsets=_synsets if synonyms else lambda word: ())
        scores = [
            single_meteor_score(
                *(tokenise(reference), tokenise(prediction)),
                stemmer=_STEMMER,
                wordnet=lexicon,
                alpha=0.9,
                beta=3,
                gamma=0.5,
            )
            for prediction, reference in zip(predictions, references, strict=True)
        ]
        return {"scores": scores}
