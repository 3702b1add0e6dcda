"""The four stages in a row on three records, against a golden file."""

from __future__ import annotations

from pathlib import Path

from knowtuning.core.records import Example, Record, dumps
from knowtuning.knowledge.aspects import ASPECTS, Perturbation
from knowtuning.knowledge.extract import extract
from knowtuning.knowledge.perturb import PerturbCounts, Settings, perturb
from knowtuning.knowledge.results import Results
from knowtuning.knowledge.rewrite import Augmentation, rewrite
from knowtuning.knowledge.score import score
from knowtuning.model.prompt import Formatter
from tests.support.scripted_teacher import ScriptedTeacher
from tests.support.tiny_models import unigram_model, word_tokenizer

GOLDEN = Path(__file__).parent / "golden" / "chain.jsonl"
EXAMPLES = [
    Example(id="a", question="Where is Aru?", answer="Aru lies north. Aru has ports. Aru trades salt."),
    Example(id="b", question="What is Bor?", answer="Bor lies south. Bor trades salt."),
    Example(id="c", question="Is Cet old?", answer="Cet has ports."),
]
WORDS = ["Aru", "Bor", "Cet", "lies", "north", "south", "has", "ports", "trades", "salt", "."]
# Ids follow the three special tokens. All other tokens weigh 1: 14 - 4 + 8 + 4 + 2 + 16 = 40 in all.
WEIGHTS = {
    WORDS.index(word) + 3: weight
    for word, weight in [("lies", 8.0), ("has", 4.0), ("ports", 2.0), (".", 16.0)]
}


def chain(examples: list[Example]) -> list[Record]:
    teacher = ScriptedTeacher()
    atoms = Results.of(extract(examples, teacher)).rows
    tokenizer, model = word_tokenizer(WORDS), unigram_model(WEIGHTS, size=14)
    scored = score(atoms, model, Formatter(tokenizer, "plain", {}), max_length=64).rows
    rewrites = rewrite(scored, teacher, alpha=0.5, counts=Augmentation())
    settings = Settings("matched", list(ASPECTS), Perturbation(seed=7, beta_delete=0.5))
    return [*atoms, *scored, *rewrites, *perturb(atoms, teacher, settings, PerturbCounts())]


def test_the_chain_matches_the_golden_file() -> None:
    """By hand: "Aru lies north." has p = 1/40 · 8/40 · 1/40 · 16/40, so logps = ln(128 / 40^4) = -9.9035.

    "Aru has ports.": ln(1·4·2·16 / 40^4), the same; "Aru trades salt.": ln(16 / 40^4) = -11.9829, the
    hardest. ceil(0.5 · 3) = 2 difficult facts of `a` are the third and, of two equals, the first.
    """
    text = "".join(dumps(record) + "\n" for record in chain(EXAMPLES))
    assert text == GOLDEN.read_text(encoding="utf-8")


def test_one_more_record_changes_no_line_of_the_others() -> None:
    assert set(map(dumps, chain(EXAMPLES[1:]))) < set(map(dumps, chain(EXAMPLES)))
