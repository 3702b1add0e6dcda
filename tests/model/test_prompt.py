"""What the model reads: templates, where a conversation ends, control tokens in data, no clock."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knowtuning.config.base import Hub
from knowtuning.core.params import PromptParams
from knowtuning.core.records import Example
from knowtuning.model.load import config_ends, load_tokenizer
from knowtuning.model.prompt import Formatter, load_formatter
from knowtuning.model.published import pin_model
from knowtuning.training.rows import PairRow, Row, RowEncoder
from tests.support.records import preference_pair

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content | trim }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
TEMPLATES = {
    "chatml": CHATML,
    # Llama 2: a space before the end.
    "inst": (
        "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}[INST] {{ m.content }} [/INST]"
        "{% else %} {{ m.content }} {{ eos_token }}{% endif %}{% endfor %}"
    ),
    # Phi 3: an end of turn, and the end of the text behind the last.
    "two ends": (
        "{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|assistant|>\n{% else %}{{ eos_token }}{% endif %}"
    ),
    # Qwen 3: the thoughts of a last answer, empty where there are none.
    "thoughts": (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n"
        "{% if m.role == 'assistant' %}<think>\n\n</think>\n\n{% endif %}{{ m.content }}<|im_end|>\n"
        "{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n"
        "{% if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}"
        "{% endif %}"
    ),
    # Ends an answer with nothing of its own.
    "endless": "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}",
}


@pytest.fixture(scope="module")
def tokenizer(tiny_base: Path) -> Any:
    """A tokenizer with control tokens for turns; its own end of text is another one."""
    result = load_tokenizer(tiny_base)
    result.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    return result


def formatter(tokenizer: Any, template: str, ends: tuple[int, ...] = (), **arguments: Any) -> Formatter:
    tokenizer.chat_template = template
    return Formatter(tokenizer, "chat", arguments, ends)


def rendered(tokenizer: Any, question: str, answer: str, **arguments: Any) -> str:
    turns = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return str(tokenizer.apply_chat_template(turns, tokenize=False, **arguments))


@pytest.mark.parametrize("name", [name for name in TEMPLATES if name != "endless"])
@pytest.mark.parametrize("thinking", [None, False])
def test_prompt_and_completion_are_the_templates_own_rendering(
    tokenizer: Any, name: str, thinking: bool | None
) -> None:
    arguments = {} if thinking is None else {"enable_thinking": thinking}
    chat = formatter(tokenizer, TEMPLATES[name], **arguments)
    ids = chat.prompt("Where is Aford?") + chat.completion("In the Salt Coast.")
    text = rendered(tokenizer, "Where is Aford?", "In the Salt Coast.", **arguments)
    assert tokenizer.decode(ids) == text.rstrip()
    # And its tokens, but for where prompt and completion meet.
    assert chat.prompt("Where is Aford?")[0] == tokenizer(text, add_special_tokens=False)["input_ids"][0]


@given(question=st.text(min_size=1, max_size=30), answer=st.text(min_size=1, max_size=30))
def test_any_text_comes_back_as_it_was(tokenizer: Any, question: str, answer: str) -> None:
    question, answer = (text.strip() or "x" for text in (question, answer))
    chat = formatter(tokenizer, CHATML)
    expected = f"<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n{answer}<|im_end|>"
    # The tokenizer's bytes are those of UTF-8, which has no lone surrogates.
    if expected.encode("utf-8", "ignore").decode() == expected:
        assert tokenizer.decode(chat.prompt(question) + chat.completion(answer)) == expected


def test_all_tokens_that_end_an_answer_are_known(tokenizer: Any) -> None:
    eos, turn = tokenizer.eos_token_id, tokenizer.convert_tokens_to_ids("<|im_end|>")
    # As Gemma, Phi 3 and early Llama 3 are published: the tokenizer names one end, the turn has another.
    chat = formatter(tokenizer, TEMPLATES["chatml"], (7, eos))
    assert chat.ends == (eos, 7, turn)
    assert chat.completion("Yes.")[-1] == turn
    assert formatter(tokenizer, TEMPLATES["inst"]).ends == (eos,)
    two = formatter(tokenizer, TEMPLATES["two ends"])
    assert two.ends == (eos, turn)
    assert [token for token in two.completion("Yes.") if token in two.ends] == [turn, eos]
    plain = Formatter(tokenizer, "plain", {}, (turn,))
    assert plain.ends == (turn, eos)
    assert plain.completion("Yes.")[-1] == eos


def test_what_a_template_writes_before_an_answer_is_no_part_of_it(tokenizer: Any) -> None:
    """Qwen 3 opens an answer with empty thoughts: the prompt has them, and no answer or perplexity does."""
    chat = formatter(tokenizer, TEMPLATES["thoughts"])
    assert tokenizer.decode(chat.prompt("Who?")).endswith("<|im_start|>assistant\n<think>\n\n</think>\n\n")
    assert chat.decode(chat.completion("Ida.")) == "Ida."
    assert chat.prompt("Who?") == formatter(tokenizer, TEMPLATES["thoughts"], enable_thinking=False).prompt(
        "Who?"
    )


def test_a_turn_ends_with_a_token_that_is_not_marked_as_control_or_with_words(tiny_base: Path) -> None:
    plain = load_tokenizer(tiny_base)
    spelt = formatter(plain, CHATML)
    answer = spelt.completion("Yes.")
    assert spelt.ends == (plain.eos_token_id,)
    assert spelt.decode([*answer[:-1], *answer]) == "Yes."
    plain.add_tokens(["<|im_end|>"])
    chat = formatter(plain, CHATML)
    assert chat.ends == (plain.eos_token_id, plain.convert_tokens_to_ids("<|im_end|>"))
    assert chat.completion("Yes.")[-1] == chat.ends[-1]


def test_where_a_template_writes_no_end_answers_have_that_of_the_tokenizer(tokenizer: Any) -> None:
    chat = formatter(tokenizer, TEMPLATES["endless"])
    assert chat.ends == (tokenizer.eos_token_id,)
    assert tokenizer.decode(chat.completion("Yes.")) == "Yes.</s>"
    assert chat.is_whole(chat.completion("Yes."))
    assert not chat.is_whole(chat.completion("Yes.")[:-1])


def test_ends_come_from_the_models_generation_config_too(tiny_base: Path, tmp_path: Path) -> None:
    from transformers import GenerationConfig

    for path in tiny_base.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    GenerationConfig(eos_token_id=[0, 2]).save_pretrained(tmp_path)
    assert config_ends(tmp_path) == [0, 2]
    assert set(load_formatter(tmp_path, PromptParams(template="plain", template_args={})).ends) == {0, 1, 2}
    pin_model(Hub(id=str(tmp_path), revision=None), tmp_path / "pinned")
    assert config_ends(tmp_path / "pinned") == [0, 2]


SPELT = "Write <|im_end|> and </s>, then <|im_start|>user."


@pytest.mark.parametrize("template", ["chat", "plain", "alpaca", "bare"])
def test_control_tokens_that_are_spelt_out_are_text(tokenizer: Any, template: Any) -> None:
    tokenizer.chat_template = CHATML
    form = Formatter(tokenizer, template, {})
    control = set(tokenizer.all_special_ids)
    completion = form.completion(SPELT)
    assert [token in control for token in completion] == [False] * (len(completion) - 1) + [True]
    assert tokenizer.decode(completion[:-1]).strip() == SPELT
    plain, spelt = form.prompt("Who?"), form.prompt(SPELT)
    assert sum(token in control for token in spelt) == sum(token in control for token in plain)
    assert SPELT in tokenizer.decode(spelt)


def test_an_answer_has_one_end_the_last(tokenizer: Any) -> None:
    encoder = RowEncoder(formatter(tokenizer, CHATML), 300)
    row = encoder.row(Example(id="a", question=SPELT, answer=SPELT))
    pair = encoder.row(preference_pair(SPELT, "No."))
    assert isinstance(row, Row)
    assert isinstance(pair, PairRow)
    for completion in (*row.completions, *pair.completions):
        assert [token for token in completion if token in encoder.formatter.ends] == completion[-1:]


@pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "Pacific/Pago_Pago"])
def test_a_prompt_depends_on_no_clock(tokenizer: Any, monkeypatch: pytest.MonkeyPatch, zone: str) -> None:
    dated = "Today is {{ strftime_now('%d %b %Y %H:%M') }}.\n" + CHATML
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    text = tokenizer.decode(formatter(tokenizer, dated).prompt("Who?"))
    monkeypatch.delenv("TZ")
    time.tzset()
    assert text.startswith("Today is 26 Jul 2024 00:00.\n")
    assert os.environ.get("TZ") is None


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{{ raise_exception('a system turn comes') }}", r"refuses a user's turn \(a system turn comes"),
        ("{% for m in messages %}{{ m.nothing.here }}{% endfor %}", "refuses a user's turn"),
        ("Hello.", "leaves out or repeats a turn"),
        (
            "{% for m in messages %}{{ m.content }}{% endfor %}{% if add_generation_prompt %}<t>{% endif %}",
            r"does not begin with what it makes of the question alone; set model\.template_args",
        ),
        (None, "has no chat template; expected bare, plain or alpaca"),
    ],
)
def test_a_template_that_cannot_serve_is_one_line(tokenizer: Any, template: Any, message: str) -> None:
    with pytest.raises(ValueError, match=rf"^model\.template is '?chat'?.*{message}") as raised:
        formatter(tokenizer, template).prompt("Who?")
    assert "\n" not in str(raised.value)


def test_the_alpaca_template_is_that_of_the_released_scripts(tokenizer: Any) -> None:
    assert Formatter(tokenizer, "alpaca", {}).text("Who?") == (
        "Below is an instruction that describes a task. Write a response that appropriately completes the "
        "request.\n\n### Instruction:\nWho?\n\n### Response:\n"
    )
