"""Prompt templates and tokenisation: the one place that turns a question into model input.

A prompt ends where the completion begins; a completion is the answer and the end-of-sequence token.
They are tokenised apart, so the boundary is the same in training, scoring and prediction.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from knowtuning.core.params import Template

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


_PLAIN = "Question: {question}\nAnswer:"
# The alpaca template of the released scripts (their framework's `alpaca`), without an input field:
# `prepare` has joined it to the question.
_ALPACA = (
    "Below is an instruction that describes a task. "
    "Write a response that appropriately completes the request.\n\n"
    "### Instruction:\n{question}\n\n### Response:\n"
)


def render(template: Template, question: str) -> str:
    """The prompt text for `question`; `chat` needs the tokenizer's own template, see encode_prompt."""
    if template == "bare":
        return question
    if template == "plain":
        return _PLAIN.format(question=question)
    if template == "alpaca":
        return _ALPACA.format(question=question)
    raise ValueError(f"template {template!r} has no text of its own; expected bare, plain or alpaca")


def encode_prompt(tokenizer: PreTrainedTokenizerBase, template: Template, question: str) -> list[int]:
    """Token ids of the prompt, with the tokenizer's begin-of-sequence token where it has one."""
    if template == "chat":
        if not tokenizer.chat_template:
            raise ValueError(
                f"model.template is 'chat' but the tokenizer of {tokenizer.name_or_path} has no chat "
                "template; expected bare, plain or alpaca for a base model"
            )
        message = [{"role": "user", "content": question}]
        text = tokenizer.apply_chat_template(message, tokenize=False, add_generation_prompt=True)
        return list(tokenizer(text, add_special_tokens=False)["input_ids"])
    ids = list(tokenizer(render(template, question), add_special_tokens=False)["input_ids"])
    if tokenizer.bos_token_id is not None:
        ids.insert(0, tokenizer.bos_token_id)
    return ids


def encode_completion(
    tokenizer: PreTrainedTokenizerBase, template: Template, text: str, *, eos: bool = True
) -> list[int]:
    """Token ids of a completion; after bare and plain it opens with a space, as text would."""
    return encode_completions(tokenizer, template, [text], eos=eos)[0]


def encode_completions(
    tokenizer: PreTrainedTokenizerBase, template: Template, texts: Sequence[str], *, eos: bool = True
) -> list[list[int]]:
    """The same of each text, by one call of the tokenizer."""
    if not texts:
        return []
    space = " " if template in ("bare", "plain") else ""
    found: Any = tokenizer([space + text.strip() for text in texts], add_special_tokens=False)["input_ids"]
    end = [tokenizer.eos_token_id] if eos else []
    return [[*ids, *end] for ids in found]
