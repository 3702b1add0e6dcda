"""Prompt templates and tokenisation: the one place that turns questions and answers into model input.

A prompt ends where the completion begins; a completion is the answer and the token that ends a turn. They are
tokenised apart, so that the boundary is the same in training, scoring and prediction. With the tokenizer's
chat template, prompt and completion together are its own rendering of a user's and an assistant's turn, up to
white space at the end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from knowtuning.core.params import PromptParams, Template
from knowtuning.model.load import config_ends, load_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# Stand in for a question and an answer while a chat template is rendered: letters that no template changes.
_QUESTION, _ANSWER = "qQuestionq", "aAnswera"
# Stands before a chat template, since prompts must not depend on a clock: one that asks for the time gets
# that of a day long ago.
_DAY = datetime(2024, 7, 26)
CLOCK = (
    "{% macro strftime_now(format) %}{{ format"
    + "".join(f" | replace('%{code}', '{_DAY.strftime('%' + code)}')" for code in "aAdbBmyYHIMSpjFT")
    + " }}{% endmacro +%}"
)


@dataclass(frozen=True)
class Frame:
    """Texts around question and answer: before and after the question, before and after the answer.

    opened: what `after` ends with beyond the template's own prompt."""

    before: str
    after: str
    lead: str = ""
    end: str = ""
    opened: str = ""


# alpaca: that of the released scripts, without an input field, which `prepare` has joined to the question.
FRAMES: Mapping[Template, Frame] = {
    "bare": Frame("", "", lead=" "),
    "plain": Frame("Question: ", "\nAnswer:", lead=" "),
    "alpaca": Frame(
        "Below is an instruction that describes a task. "
        "Write a response that appropriately completes the request.\n\n### Instruction:\n",
        "\n\n### Response:\n",
    ),
}


@dataclass(frozen=True)
class Formatter:
    """Questions and answers as token ids, by one template; config_ends: ends by the generation config."""

    tokenizer: PreTrainedTokenizerBase
    template: Template
    template_args: Mapping[str, Any]
    config_ends: tuple[int, ...] = ()

    @cached_property
    def frame(self) -> Frame:
        """What stands around question and answer. Raises ValueError for a chat template that cannot serve."""
        if self.template != "chat":
            return FRAMES[self.template]
        prompt, whole = self._rendered(answer=False), self._rendered(answer=True)
        for text, part in ((prompt, _QUESTION), (whole, _ANSWER)):
            if text.count(part) != 1:
                raise ValueError(
                    f"model.template is chat, but the chat template of {self.tokenizer.name_or_path} leaves "
                    "out or repeats a turn; expected bare, plain or alpaca"
                )
        if not whole.startswith(prompt):
            raise ValueError(
                f"model.template is chat, but what the chat template of {self.tokenizer.name_or_path} makes "
                "of an answer does not begin with what it makes of the question alone; set "
                "model.template_args (such as {enable_thinking: false}), or another template"
            )
        before, after = prompt.split(_QUESTION)
        lead, end = whole[len(prompt) :].split(_ANSWER)
        # What can be seen before an answer, such as empty thoughts, is no part of it and nothing to learn.
        opened, lead = (lead, "") if lead.strip() else ("", lead)
        return Frame(before, after + opened, lead, end.rstrip(), opened)

    def _rendered(self, *, answer: bool) -> str:
        from jinja2 import TemplateError

        if not self.tokenizer.chat_template:
            raise ValueError(
                f"model.template is 'chat' but the tokenizer of {self.tokenizer.name_or_path} has no chat "
                "template; expected bare, plain or alpaca for a base model"
            )
        turns = [{"role": "user", "content": _QUESTION}, {"role": "assistant", "content": _ANSWER}]
        template = CLOCK + str(self.tokenizer.get_chat_template())
        try:
            text = self.tokenizer.apply_chat_template(
                turns if answer else turns[:1],
                chat_template=template,
                tokenize=False,
                add_generation_prompt=not answer,
                **self.template_args,
            )
        except (TemplateError, TypeError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise ValueError(
                f"model.template is chat, but the chat template of {self.tokenizer.name_or_path} refuses a "
                f"user's turn ({reason}); set model.template_args, or model.template to bare, plain or alpaca"
            ) from error
        return str(text)

    @cached_property
    def control(self) -> tuple[str, ...]:
        """The spellings of control tokens; in questions and answers they are text."""
        special = (token.content for token in self.tokenizer.added_tokens_decoder.values() if token.special)
        return tuple({*special, *map(str, self.tokenizer.all_special_tokens)})

    @cached_property
    def _turn_end(self) -> int | None:
        """The token of its own, beside the vocabulary, that the template writes after an answer, if any."""
        added = {*self.tokenizer.all_special_ids, *self.tokenizer.added_tokens_decoder}
        return next((token for token in self._ids(self.frame.end) if token in added), None)

    @cached_property
    def ends(self) -> tuple[int, ...]:
        """All tokens that end an answer; the last is the one that training teaches."""
        eos: Any = self.tokenizer.eos_token_id
        taught = eos if self._turn_end is None else self._turn_end
        return (*dict.fromkeys(end for end in (eos, *self.config_ends) if end != taught), taught)

    def text(self, question: str) -> str:
        """The prompt as text, for people and for services that tokenise themselves."""
        return f"{self.frame.before}{question.strip()}{self.frame.after}"

    def prompt(self, question: str) -> list[int]:
        """Token ids of the prompt, with the tokenizer's begin-of-sequence token where it has one."""
        ids = self._around(self.frame.before, question.strip(), self.frame.after)
        if self.template == "chat" or self.tokenizer.bos_token_id is None:
            return ids
        return [self.tokenizer.bos_token_id, *ids]

    def completion(self, answer: str, *, end: bool = True) -> list[int]:
        """Token ids of what follows the prompt; after bare and plain it opens with a space.

        It closes with what the template writes after an answer, or with EOS where that ends no turn.
        """
        ids = self._around(self.frame.lead, answer.strip(), self.frame.end if end else "")
        return [*ids, self.ends[-1]] if end and self._turn_end is None else ids

    def is_whole(self, completion: Sequence[int]) -> bool:
        """Whether a completion has its end, and was not cut off."""
        return completion[-1] == self._last

    @cached_property
    def _last(self) -> int:
        return self.completion("")[-1]

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of an answer, without control tokens and without an end that the template spells out."""
        text = str(self.tokenizer.decode(list(tokens), skip_special_tokens=True))
        spelt = self.frame.end if self._turn_end is None else ""
        return (text.partition(spelt)[0] if spelt else text).strip()

    def _around(self, before: str, text: str, after: str) -> list[int]:
        """Token ids of all three in a row; control tokens that are spelt out in `text` are text.

        Together where nothing is spelt out, so that tokens are those of the template's own rendering.
        """
        if any(token in text for token in self.control):
            return [*self._ids(before), *self._ids(text, split=True), *self._ids(after)]
        return self._ids(before + text + after)

    def _ids(self, text: str, *, split: bool = False) -> list[int]:
        if not text:
            return []
        options: dict[str, Any] = {"add_special_tokens": False, "split_special_tokens": split}
        return list(self.tokenizer(text, **options)["input_ids"])


def load_formatter(base: Path, params: PromptParams) -> Formatter:
    """What turns questions and answers into the tokens of a base folder's model."""
    tokenizer, ends = load_tokenizer(base), tuple(config_ends(base))
    return Formatter(tokenizer, params.template, params.template_args, ends)
