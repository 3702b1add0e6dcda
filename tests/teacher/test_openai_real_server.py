"""The client against an OpenAI-compatible server that is not ours: `transformers serve`.

It ignores `response_format`, counts and cuts replies as it likes and words its errors in its own way. The
model is a two-layer Llama that the test trains, in half a minute, to reply the same JSON to whatever it
is asked.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from knowtuning.teacher.openai.limits import TeacherError
from knowtuning.teacher.tasks import Failure, Rephrase, Text
from tests.support.openai_setup import extracts, quick, teacher_at
from tests.support.servers import needs_serving, transformers_serve

pytestmark = [pytest.mark.slow, needs_serving]
REPLY = '{"text": "It lies there."}'


def train_parrot(folder: Path) -> None:
    """A byte-level Llama that says REPLY after any prompt."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    letters = ["<s>", "</s>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    raw = Tokenizer(models.BPE(vocab={letter: number for number, letter in enumerate(letters)}, merges=[]))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw, bos_token="<s>", eos_token="</s>", pad_token="</s>"
    )
    # The end of the last message alone: the model need not learn to read on for thousands of letters.
    tokenizer.chat_template = "{{ messages[-1]['content'][-200:] }}<s>"
    torch.manual_seed(0)
    shape = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}
    ends = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1}
    model = LlamaForCausalLM(
        LlamaConfig(vocab_size=len(letters), max_position_embeddings=4096, **shape, **ends)
    )
    output = torch.tensor([0, *tokenizer(REPLY, add_special_tokens=False)["input_ids"], 1])
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(250):
        prompt = torch.randint(2, len(letters), (8, int(torch.randint(20, 200, ()))))
        tokens = torch.cat([prompt, output.expand(8, -1)], dim=1)
        labels = tokens.masked_fill(torch.arange(tokens.shape[1]) <= prompt.shape[1], -100)
        model(input_ids=tokens, labels=labels).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """Address of the server and name of the model."""
    folder = tmp_path_factory.mktemp("parrot")
    train_parrot(folder)
    with transformers_serve(folder / "server.log") as url:
        yield url, str(folder)


def test_replies_failures_and_replay(served: tuple[str, str], tmp_path: Path) -> None:
    url, model = served
    tasks = [
        Rephrase(id=str(number), question="Where is it?", text=f"It is {number}.") for number in range(6)
    ]
    limits = quick(concurrency=2, timeout=60)
    teacher = teacher_at(url, tmp_path, limits=limits, model=model, key=None)
    assert [outcome for _, outcome in teacher.run(tasks)] == [Text(text="It lies there.")] * 6
    # The same words to a task that wants facts break its schema, also when asked again.
    [(_, failure)] = teacher.run(extracts(1))
    assert isinstance(failure, Failure)
    assert "facts: Field required" in failure.reason
    assert failure.raw == REPLY
    assert teacher.totals.paid == 8
    assert teacher.totals.paid_completion_tokens > 8 * 20  # the server's own count

    again = teacher_at(url, tmp_path, limits=limits, model=model, key=None)
    assert len(list(again.run(tasks))) == 6
    assert (again.totals.paid, again.totals.cached) == (0, 6)


def test_an_unknown_model_is_named(served: tuple[str, str], tmp_path: Path) -> None:
    url, _ = served
    teacher = teacher_at(url, tmp_path, limits=quick(timeout=60), model="nobody/nothing", key=None)
    began = time.monotonic()
    with pytest.raises(TeacherError, match=r"teacher\.model 'nobody/nothing'"):
        list(teacher.run(extracts(3)))
    assert time.monotonic() - began < 30
