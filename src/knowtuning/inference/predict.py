"""Greedy answers of a system, in the order of the questions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from knowtuning.core.params import Template
from knowtuning.core.records import Example, Prediction
from knowtuning.inference.decoders import Decoder
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
    from tqdm import tqdm

    prompts = [encode_prompt(tokenizer, template, example.question) for example in examples]
    journal = journal or Journal()
    parts = {str(part[0]): part for part in decoder.plan(prompts, max_new_tokens)}
    todo = journal.todo(list(parts), alike=False)
    work = {key: [prompts[i] for i in parts[key]] for key in todo}
    finished = len(examples) - sum(map(len, work.values()))
    with tqdm(desc="predict", total=len(examples), unit="answer", initial=finished) as bar:
        for key, found in decoder.answers(work, max_new_tokens):
            journal.put(key, found)
            bar.update(len(found))
    done = journal.exchange()
    answers: dict[int, list[int]] = {}
    for key, indices in parts.items():
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
