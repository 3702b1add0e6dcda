"""Tokenizers and models small enough to be made in a test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

# What random models may differ in from their family's defaults, beside SIZES: a small feed-forward layer, and
# heads that share keys and values.
GROUPED = {"intermediate_size": 48, "num_key_value_heads": 2}
SIZES = {"vocab_size": 97, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
TEXTS = [f"The export of town {n} is tin." for n in range(40)]


def scratch_params(**changes: Any) -> Any:
    """The section base.scratch of a model that learns TEXTS in no time."""
    from knowtuning.config.base import Scratch

    size = {"vocab": 300, "hidden": 32, "layers": 1, "heads": 2, "context": 64, "sequence": 16, "batch": 4}
    rest = {"epochs": 3.0, "max_steps": None, "muon_lr": 0.02, "adamw_lr": 0.01}
    return Scratch(**{**size, **rest, **changes})


def word_tokenizer(words: Sequence[str]) -> Any:
    """A tokenizer whose tokens are words and single punctuation marks, ids in the order of `words`."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = {word: index for index, word in enumerate(["<unk>", "<s>", "</s>", *words])}
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, unk_token="<unk>", bos_token="<s>", eos_token="</s>", pad_token="</s>"
    )


def random_model(family: str, **overrides: Any) -> Any:
    """A random model of a Hugging Face family, its weights large enough for uneven predictions."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.for_model(family, **SIZES, **overrides)
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    for parameter in model.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.3)
    return model


def unigram_model(weights: Mapping[int, float], size: int) -> Any:
    """A Llama that gives token t the probability weights[t] / sum, whatever came before; others weigh 1.

    Attention and feed-forward layers are zero and all embeddings equal, so that the last hidden state is
    a vector of ones and the logits are the sums of the rows of the output head: log weight.
    """
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=size,
        hidden_size=4,
        intermediate_size=4,
        num_hidden_layers=1,
        num_attention_heads=1,
        num_key_value_heads=1,
        max_position_embeddings=64,
        rms_norm_eps=1e-12,
        tie_word_embeddings=False,
    )
    model = LlamaForCausalLM(config).eval()
    with torch.no_grad():
        for parameter in model.model.layers.parameters():
            parameter.zero_()
        model.model.embed_tokens.weight.fill_(1.0)
        model.model.norm.weight.fill_(1.0)
        model.lm_head.weight.zero_()
        for token, weight in weights.items():
            model.lm_head.weight[token, 0] = torch.tensor(weight).log()
    return model
