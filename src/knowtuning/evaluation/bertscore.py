"""BERTScore of answers: which encoder, which layer, which baseline, and the name that says so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from knowtuning.config.evaluate import BertScoreParams
from knowtuning.core.storage import digest_folder
from knowtuning.evaluation.lexical import load_metric

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
}
# Precision, recall and F of unrelated English texts at that layer (`bert_score` 0.3.13, rescale_baseline/en).
BASELINES = {"roberta-large": (0.83150584, 0.8314941, 0.83122575)}
_FILES = ["*.json", "*.txt", "*.model", "*.safetensors"]


@dataclass(frozen=True)
class Encoder:
    """An encoder on this machine. variant: encoder, version, layer and scale, for the score's name."""

    variant: str
    folder: Path
    layers: int
    baseline: tuple[float, float, float] | None


def resolve(params: BertScoreParams) -> Encoder | None:
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
    """The folder of an encoder and its version: a commit of the hub, or a hash of the folder's files."""
    folder = Path(encoder)
    if folder.is_dir():
        return folder.resolve(), digest_folder(folder)
    if revision is None:
        raise ValueError(
            f"evaluate.bertscore.revision is null; expected a commit of {encoder}, which is no folder here"
        )
    from huggingface_hub import snapshot_download

    try:
        found = Path(snapshot_download(encoder, revision=revision, allow_patterns=_FILES))
    except Exception as error:  # the hub's errors have no common base
        reason = " ".join(str(error).split())[:200]
        raise ValueError(
            f"evaluate.bertscore.encoder is {encoder!r} at {revision!r}; it is no folder here and the hub "
            f"did not give it ({reason}); set it to null to do without BERTScore"
        ) from error
    return found, found.name


def bertscore(
    predictions: Sequence[str], references: Sequence[str], encoder: Encoder, *, device: str, cache: Path
) -> list[float]:
    """F of each prediction times 100; negative values occur when rescaled."""
    found = load_metric("bertscore", cache).compute(
        predictions=list(predictions),
        references=list(references),
        encoder=str(encoder.folder),
        layers=encoder.layers,
        baseline=encoder.baseline,
        device=device,
    )
    return [100 * value for value in found["f1"]]
