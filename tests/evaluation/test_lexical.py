"""METEOR and ROUGE-L against the packages that define them, and the layout of WordNet."""

import gzip
import random
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from knowtuning.core.storage import digest_folder
from knowtuning.core.text import is_latin
from knowtuning.evaluation import lexical, wordnet
from tests.support.checkout import CODE, ROOT

# Where CI and the README put it; NLTK's default folders are searched as well.
NLTK_DATA = ROOT / ".cache/nltk_data"


@pytest.fixture
def synonyms() -> None:
    if not wordnet.available(NLTK_DATA):
        pytest.skip("WordNet is not installed: see knowtuning.evaluation.wordnet")


def meteor(cache: Path, prediction: str, reference: str, *, synonyms: bool) -> float:
    return lexical.meteor([prediction], [reference], synonyms=synonyms, cache=cache)[0]


def tokeniser(cache: Path) -> Callable[[str], Sequence[str]]:
    """METEOR's, of the copy that the library has imported."""
    return sys.modules[type(lexical.load_metric("meteor", cache)).__module__].tokenise


@pytest.mark.parametrize(
    "text",
    [
        "光合作用把光能变成化学能。",
        "Вода кипит при ста градусах.",
        "الماء يغلي عند مئة درجة.",
        "फूल पौधे का भाग है।",
        "물은 섭씨 백 도에서 끓는다.",
        "🙂 🚀 🙃 🎉",
    ],
)
def test_equal_texts_of_any_script_score_as_equal(cache: Path, text: str) -> None:
    assert lexical.rouge_l([text], [text], cache=cache) == [100.0]
    # One chunk of n words: the penalty is half of n to the minus third, so above 99 from four words on.
    assert meteor(cache, text, text, synonyms=False) > 99
    assert lexical.rouge_l([text], ["Something else."], cache=cache) == [0.0]


@pytest.mark.usefixtures("synonyms")
def test_synonyms_are_those_of_stems(cache: Path) -> None:
    # One word on each side that matches: precision = recall = 1, one chunk, penalty 0.5: 50. NLTK looks up
    # the stem "automobil", which WordNet does not have, so car/automobile stays unmatched.
    assert meteor(cache, "car", "auto", synonyms=True) == pytest.approx(50.0)
    assert meteor(cache, "car", "automobile", synonyms=True) == 0.0
    assert meteor(cache, "car", "auto", synonyms=False) == 0.0


def test_meteor_by_hand(cache: Path) -> None:
    # "A b c ." against "A b d e .": 3 matches (a, b, full stop) in 2 chunks. P = 3/4, R = 3/5,
    # F = PR / (0.9 P + 0.1 R) = 0.45 / 0.735, penalty = 0.5 (2/3)^3 = 4/27.
    expected = 100 * 0.45 / 0.735 * 23 / 27
    assert meteor(cache, "A b c.", "A b d e.", synonyms=False) == pytest.approx(expected)


def test_full_stops_between_sentences_are_tokens(cache: Path) -> None:
    # Equal texts of 3 + 3 tokens: 6 matches in one chunk, penalty 0.5 / 6^3. Were "stop." one token, there
    # would be 5. The quoted sentence keeps its quotation marks.
    tokenise = tokeniser(cache)
    assert tokenise("Please stop. Go on.") == ("Please", "stop", ".", "Go", "on", ".")
    assert tokenise('He said "Go." Then left at 3.5 km.') == (
        *("He", "said", "``", "Go", ".", "''"),
        *("Then", "left", "at", "3.5", "km", "."),
    )
    same = meteor(cache, "Please stop. Go on.", "Please stop. Go on.", synonyms=False)
    assert same == pytest.approx(100 * (1 - 0.5 / 6**3))


@pytest.mark.usefixtures("synonyms")
def test_meteor_agrees_with_nltk(cache: Path) -> None:
    from nltk.translate.meteor_score import single_meteor_score

    tokenise = tokeniser(cache)
    for prediction, reference in texts():
        expected = single_meteor_score(tokenise(reference), tokenise(prediction))
        assert meteor(cache, prediction, reference, synonyms=True) == pytest.approx(100 * expected)


def texts() -> list[tuple[str, str]]:
    """Fixed pairs with repeats, empty texts, other scripts, and words that share stems and synonyms."""
    draw = random.Random(6)
    words = [
        *("the", "cat", "cats", "ran", "running", "run", "quick", "fast", "big", "large"),
        *(".", ",", "12", "12.5", "Straße", "naïve", "it's", "日本", "A"),
    ]
    pairs = [
        (" ".join(draw.choices(words, k=draw.randint(0, 25))), " ".join(draw.choices(words, k=n)))
        for n in range(40)
    ]
    # Texts that are mostly of another script are ours to split.
    return [pair for pair in pairs if all(map(is_latin, pair))]


def test_rouge_l_agrees_with_rouge_score(cache: Path) -> None:
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer(["rougeL"], use_stemmer=False)
    pairs = texts()
    result = lexical.rouge_l([p for p, _ in pairs], [r for _, r in pairs], cache=cache)
    expected = [scorer.score(reference, prediction)["rougeL"].fmeasure for prediction, reference in pairs]
    assert result == pytest.approx([100 * each for each in expected])


@pytest.mark.slow
def test_metrics_write_nothing_outside_their_cache(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    code = (
        "from pathlib import Path; from knowtuning.evaluation import lexical;"
        "texts = [['a b'], ['a b']]; lexical.meteor(*texts, synonyms=False, cache=Path('cache'));"
        "print(lexical.rouge_l(*texts, cache=Path('cache')))"
    )
    # Two at once: the cache is shared between processes.
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", code],
            cwd=tmp_path,
            env={"HOME": str(home), "PATH": "/usr/bin:/bin", **CODE},
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    assert [run.communicate()[0].strip() for run in runs] == ["[100.0]", "[100.0]"]
    assert [path for path in home.rglob("*") if path.is_file()] == []
    assert (tmp_path / "cache/modules/evaluate_modules").is_dir()


def manual(rows: int) -> bytes:
    """A page with a table like that of Debian's lexnames manual, trailing blanks included."""
    names = ["noun.plant", "verb.body ", "adj.all", "adv.all  "]
    table = "".join(f"{i:02d}\t{names[i % 4]}\tnouns denoting things\n" for i in range(rows))
    return gzip.compress(f".TH LEXNAMES\n00 not a row\n_\n{table}.TE\n".encode())


def debian(folder: Path, rows: int = 45) -> Path:
    for name in wordnet.FILES:
        path = folder / "usr/share/wordnet" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    page = folder / "usr/share/man/man5/lexnames.5WN.gz"
    page.parent.mkdir(parents=True)
    page.write_bytes(manual(rows))
    return folder


def test_wordnet_is_laid_out_for_nltk(tmp_path: Path) -> None:
    target = wordnet.lay_out(debian(tmp_path / "debian"), tmp_path / "nltk")
    assert target == tmp_path / "nltk/corpora/wordnet"
    assert (target / "data.noun").read_text() == "data.noun"
    lines = (target / "lexnames").read_text().splitlines()
    # NLTK splits each line in three and wants line i to start with i; 1 to 4 are noun, verb, adj, adv.
    assert lines[:4] == ["00\tnoun.plant\t1", "01\tverb.body\t2", "02\tadj.all\t3", "03\tadv.all\t4"]
    assert len(lines) == 45
    before = digest_folder(target)
    wordnet.lay_out(tmp_path / "debian", tmp_path / "nltk")
    assert digest_folder(target) == before


def test_an_incomplete_wordnet_is_named(tmp_path: Path) -> None:
    root = debian(tmp_path / "debian")
    (root / "usr/share/wordnet/index.sense").unlink()
    with pytest.raises(ValueError, match=r"index\.sense: not found; install Debian's wordnet-base and"):
        wordnet.lay_out(root, tmp_path / "nltk")
    with pytest.raises(ValueError, match="found 44 rows; expected 45"):
        wordnet.lay_out(debian(tmp_path / "short", rows=44), tmp_path / "nltk")
