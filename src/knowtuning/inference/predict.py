"""Greedy answers of a system, in the order of the questions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from knowtuning.core.params import Template
from knowtuning.core.records import Example, Prediction
from knowtuning.inference.decoders import Decoder, Tokens
from knowtuning.runtime.prompting import encode_prompt
from knowtuning.runtime.resume import Journal

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def predict(
    examples: Sequence[Example],
    decoder: Decoder,
    tokenizer: PreTrainedTokenizerBase,
    *,
    template: Template,
    max_new_tokens: int,
    journal: Journal | None = None,
) -> list[Prediction]:
    """One greedy answer for each example, in the order of `examples`.

    What the decoder has finished is noted in the journal, and not computed where an earlier run has noted it.

    Deviation: the released scripts' framework samples (T 0.95, top-p 0.7); greedy answers are comparable
    from run to run.
    """
    prompts = [encode_prompt(tokenizer, template, example.question) for example in examples]
    answers = decode(prompts, decoder, max_new_tokens, journal)
    return [
        Prediction(
            id=example.id,
            question=example.question,
            answer=str(tokenizer.decode(answer, skip_special_tokens=True)).strip(),
            tokens=len(answer),
            truncated=len(answer) == max_new_tokens,
        )
        for example, answer in zip(examples, answers, strict=True)
    ]


def decode(
    prompts: Sequence[Tokens], decoder: Decoder, new_tokens: int, journal: Journal | None = None
) -> list[Tokens]:
    """The decoder's answers (token ids) in the order of the prompts; see `predict`."""
    from tqdm import tqdm

    journal = journal or Journal()
    parts = {str(part[0]): part for part in decoder.plan(prompts, new_tokens)}
    todo = journal.todo(list(parts), alike=False)
    work = {key: [prompts[i] for i in parts[key]] for key in todo}
    finished = len(prompts) - sum(map(len, work.values()))
    with tqdm(desc="predict", total=len(prompts), unit="answer", initial=finished) as bar:
        for key, found in decoder.answers(work, new_tokens):
            journal.put(key, found)
            bar.update(len(found))
    done = journal.exchange()
    answers: dict[int, Tokens] = {}
    for key, indices in parts.items():
        answers.update(zip(indices, done[key], strict=True))
    return [answers[index] for index in range(len(prompts))]
