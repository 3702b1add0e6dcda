"""The chat template of an exported model: what model/prompt.py makes of a question, in Jinja.

So a program that knows nothing of this project (transformers, vLLM, llama.cpp) prompts the model as it was
trained. A conversation of several turns becomes a question as data/chat.py makes one: what came before stands
in front of the last user turn.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from knowtuning.model.prompt import CLOCK, Formatter

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# As data/chat.py: system turns as they are, the others behind their label where there is more than one.
_CONVERSATION = """\
{%- set answered = messages[-1]['role'] == 'assistant' -%}
{%- set turns = messages[:-1] if answered else messages -%}
{%- set spoken = turns | rejectattr('role', 'equalto', 'system') | list -%}
{{- BOS + BEFORE -}}
{%- for turn in turns -%}
{{- '' if loop.first else '\\n\\n' -}}
{%- if spoken | length > 1 and turn['role'] != 'system' -%}
{{- 'Assistant: ' if turn['role'] == 'assistant' else 'User: ' -}}
{%- endif -%}
{{- turn['content'] | trim -}}
{%- endfor -%}
{{- AFTER -}}
{{- LEAD + messages[-1]['content'] | trim + eos_token if answered -}}
"""


def chat_template(formatter: Formatter, gap: str = "") -> str:
    """The Jinja template that renders a user's turn, and an assistant's, as the formatter does.

    gap: what stands between the token that begins a sequence and the prompt. For `chat` it is the tokenizer's
    own template with the variables of model.template_args set, and with the day that prompts are dated with
    here where it asks for the time.
    """
    if formatter.template == "chat":
        template = str(formatter.tokenizer.get_chat_template())
        clock = CLOCK if "strftime_now" in template else ""
        # Jinja reads Python's literals; a caller may still pass another value.
        args = (
            f"{{%- if {name} is not defined %}}{{% set {name} = {value!r} %}}{{% endif -%}}"
            for name, value in formatter.template_args.items()
        )
        # What the template writes before an answer alone (Qwen 3: empty thoughts) ends the prompt too.
        opened = json.dumps(formatter.frame.opened)
        prompt = (
            f"{{% if add_generation_prompt %}}{{{{ {opened} }}}}{{% endif %}}"
            if formatter.frame.opened
            else ""
        )
        return "".join(args) + clock + template.removesuffix("\n") + prompt
    frame = formatter.frame
    has_bos = formatter.tokenizer.bos_token is not None
    template = _CONVERSATION.replace("BOS", f"bos_token + {json.dumps(gap)}" if has_bos else '""')
    for name, text in {"BEFORE": frame.before, "AFTER": frame.after, "LEAD": frame.lead}.items():
        template = template.replace(name, json.dumps(text))
    return template


def with_template(formatter: Formatter, questions: Sequence[str]) -> PreTrainedTokenizerBase:
    """The tokenizer with its chat template, which gives each question the formatter's tokens.

    But for what no template can say: control tokens that a question spells out are text for the formatter
    alone, and a tokenizer's own template may keep white space around a question.
    Raises ValueError for a tokenizer that no template can serve, since it begins texts differently.
    """
    tokenizer = formatter.tokenizer
    original = tokenizer.chat_template
    compared = [text.strip() for text in questions if not any(token in text for token in formatter.control)]
    # Some tokenizers put a space before a text, but not before one behind a control token.
    for gap in ("", " "):
        template = chat_template(formatter, gap)
        tokenizer.chat_template = template
        different = [text for text in compared if _tokens(tokenizer, text) != formatter.prompt(text)]
        tokenizer.chat_template = original
        if not different:
            tokenizer.chat_template = template
            return tokenizer
    raise ValueError(
        f"model.template is {formatter.template}, and with the tokenizer of {tokenizer.name_or_path} no chat "
        f"template gives {different[0][:80]!r} the tokens that the model was trained on; set another one "
        "and train again"
    )


def _tokens(tokenizer: PreTrainedTokenizerBase, question: str) -> list[int]:
    turns = [{"role": "user", "content": question}]
    ids: Any = tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_dict=False)
    return list(ids)
