"""BERTScore as a module of the `evaluate` library, for an encoder in a local folder (safetensors only).

Load it by its absolute path. It needs no network. Greedy matching of contextual embeddings (Zhang et al.,
2020, section 3) as the `bert_score` package computes it without idf weights: embeddings of one layer, scaled
to length 1; every token but the first and last special ones is matched to its most similar token of the other
text; precision averages over the prediction, recall over the reference.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import torch

from knowtuning.evaluation.modules import TextMetric
from knowtuning.model.batches import by_length

# Tokenizers that read a word at the start of a text unlike one behind a space.
_PREFIXED = ("roberta", "gpt2", "bart", "longformer", "deberta")


@functools.cache
def load(encoder: str, layers: int, device: str) -> tuple[Any, Any, int]:
    """(tokenizer, model cut after `layers`, longest input in tokens) of the folder `encoder`."""
    from transformers import AutoConfig, AutoModel, AutoTokenizer

    config = AutoConfig.from_pretrained(encoder, trust_remote_code=False)
    if not 0 < layers <= config.num_hidden_layers:
        raise ValueError(
            f"{encoder} has {config.num_hidden_layers} layers; expected {layers} to be one of them"
        )
    # Later layers are not computed at all.
    config.num_hidden_layers = layers
    prefix = {"add_prefix_space": True} if config.model_type in _PREFIXED else {}
    tokenizer = AutoTokenizer.from_pretrained(encoder, trust_remote_code=False, **prefix)
    model = AutoModel.from_pretrained(encoder, config=config, trust_remote_code=False, use_safetensors=True)
    # RoBERTa counts positions from behind its padding index.
    room = config.max_position_embeddings - (config.pad_token_id + 1 if "roberta" in config.model_type else 0)
    return tokenizer, model.to(device).eval(), min(room, tokenizer.model_max_length)


def match(
    first: tuple[torch.Tensor, torch.Tensor], second: tuple[torch.Tensor, torch.Tensor], counted: torch.Tensor
) -> torch.Tensor:
    """Mean best similarity in the second texts over the `counted` tokens (batch, seq) of the first.

    first, second: unit embeddings (batch, seq, width), and which positions hold tokens (batch, seq).
    """
    similarity = first[0] @ second[0].transpose(1, 2)
    best = similarity.masked_fill(~second[1][:, None, :], -torch.inf).amax(dim=-1)
    total = torch.where(counted, best, 0.0).sum(dim=1)
    return total / counted.sum(dim=1).clamp(min=1)


class BertScore(TextMetric):
    """BERTScore (Zhang et al., 2020) without idf weights, optionally rescaled by a baseline.

    predictions, references: texts, one of each per item. encoder: folder of a model. layers: the layer whose
    embeddings count. baseline: its precision, recall and F of unrelated texts, or null. Returns precision,
    recall and f1, one value per item: 1 for equal texts, 0 where one of them is empty, and without a lower
    bound when rescaled.
    """

    def _compute(
        self,
        predictions: list[str],
        references: list[str],
        encoder: str,
        layers: int,
        baseline: Sequence[float] | None = None,
        device: str = "cpu",
        budget: int = 8192,
    ) -> dict[str, list[float]]:
        tokenizer, model, longest = load(encoder, layers, device)
        answers, targets = (
            tokenizer([text.strip() for text in texts], truncation=True, max_length=longest)["input_ids"]
            for texts in (predictions, references)
        )
        marks = torch.tensor([tokenizer.cls_token_id, tokenizer.sep_token_id], device=device)
        scores = torch.zeros(len(answers), 3)
        pair_lengths = [max(len(a), len(b)) for a, b in zip(answers, targets, strict=True)]
        for indices in by_length(pair_lengths, budget):
            sides, counted = [], []
            for texts in (answers, targets):
                rows = {"input_ids": [texts[i] for i in indices]}
                inputs = tokenizer.pad(rows, return_tensors="pt").to(device)
                with torch.inference_mode():
                    hidden = model(**inputs).last_hidden_state.float()
                there = inputs["attention_mask"].bool()
                sides.append((torch.nn.functional.normalize(hidden, dim=-1), there))
                counted.append(there & ~torch.isin(inputs["input_ids"], marks))
            precision = match(sides[0], sides[1], counted[0])
            recall = match(sides[1], sides[0], counted[1])
            empty = ~(counted[0].any(dim=1) & counted[1].any(dim=1))
            f1 = 2 * precision * recall / (precision + recall)
            values = torch.stack([precision, recall, f1], dim=1)
            if baseline is not None:
                floor = torch.tensor(baseline, device=device)
                values = (values - floor) / (1 - floor)
            scores[indices] = values.masked_fill(empty[:, None], 0.0).cpu()
        return {name: scores[:, i].tolist() for i, name in enumerate(("precision", "recall", "f1"))}
