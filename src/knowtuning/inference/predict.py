"""Greedy answers of a system: left-padded, length-sorted batches, original order restored."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from knowtuning.batching import by_length
from knowtuning.config import Template
from knowtuning.inference.greedy import cache_bytes, decodes, greedy, left_padded
from knowtuning.prompting import encode_prompt
from knowtuning.records import Example, Prediction
from knowtuning.resume import Journal

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


# Answers a batch at most: what a killed run can lose, and the share that another process can take.
_MOST = 128


def tokens_that_fit(model: Any) -> int:
    """Tokens whose key-value cache takes 1 GiB of a CPU's memory, or a quarter of a GPU's."""
    import torch

    memory = 2**30
    if model.device.type == "cuda":
        memory = torch.cuda.get_device_properties(model.device).total_memory // 4
    return max(1, memory // cache_bytes(model))


def _generate(
    model: Any, tokenizer: PreTrainedTokenizerBase, prompts: Sequence[list[int]], new_tokens: int
) -> list[list[int]]:
    """Greedy continuations of the prompts, cut before EOS; one without EOS has `new_tokens` tokens."""
    import torch

    eos, pad = tokenizer.eos_token_id, tokenizer.pad_token_id
    if decodes(model):
        return greedy(model, prompts, new_tokens=new_tokens, eos=eos, pad=pad)
    ids, mask = left_padded(prompts, pad)
    with torch.no_grad():
        out = model.generate(
            input_ids=ids.to(model.device),
            attention_mask=mask.to(model.device),
            max_new_tokens=new_tokens,
            do_sample=False,
            num_beams=1,
            temperature=None,
            top_p=None,
            top_k=None,
            eos_token_id=eos,
            pad_token_id=pad,
        )
    answers = []
    for row in out[:, ids.shape[1] :].tolist():
        end = row.index(eos) if eos in row else new_tokens
        answers.append(row[:end])
    return answers


def predict(
    examples: Sequence[Example],
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    *,
    template: Template,
    max_new_tokens: int,
    batch_tokens: int | None = None,
    journal: Journal | None = None,
) -> list[Prediction]:
    """One greedy answer for each example, in the order of `examples`.

    batch_tokens: tokens a batch may have when its answers are full; None: as many as fit. Each finished batch
    is noted in the journal, and not computed where an earlier run has noted it.

    Deviation: the released scripts' framework samples (T 0.95, top-p 0.7); greedy answers are comparable
    from run to run.
    """
    from tqdm import tqdm

    prompts = [encode_prompt(tokenizer, template, example.question) for example in examples]
    journal = journal or Journal()
    lengths = [len(prompt) + max_new_tokens for prompt in prompts]
    plan = by_length(lengths, batch_tokens or tokens_that_fit(model), most=_MOST)
    batches = {str(batch[0]): batch for batch in plan}
    todo = journal.todo(list(batches), alike=False)
    finished = len(examples) - sum(len(batches[key]) for key in todo)
    with tqdm(desc="predict", total=len(examples), unit="answer", initial=finished) as bar:
        for key in todo:
            batch = [prompts[i] for i in batches[key]]
            journal.put(key, _generate(model, tokenizer, batch, max_new_tokens))
            bar.update(len(batch))
    done = journal.exchange()
    answers: dict[int, list[int]] = {}
    for key, indices in batches.items():
        answers.update(zip(indices, done[key], strict=True))
    return [
        Prediction(
            id=example.id,
            question=example.question,
            answer=str(tokenizer.decode(answers[i], skip_special_tokens=True)).strip(),
            tokens=len(answers[i]),
            truncated=len(answers[i]) == max_new_tokens,
        )
        for i, example in enumerate(examples)
    ]
