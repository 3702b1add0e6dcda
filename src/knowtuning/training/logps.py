"""Log-probabilities of completions given their prompts: of each token, of whole completions, of facts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from knowtuning.model.batches import IGNORED, by_length, padded, right_padded
from knowtuning.model.memory import cache_tokens, prefix_limit

if TYPE_CHECKING:
    import torch

Tokens = Sequence[int]
# Numbers that the states of a pass on a CPU have at most: more leave its cache and cost half as much again.
_STATES = 2**20
# Facts of a chunk are padded by at most this factor, and this many tokens.
_PADDING, _SLACK = 1.15, 48


def bare_model(model: Any) -> Any:
    """The causal language model inside an adapter, or the model itself."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def has_frozen_head(model: Any) -> bool:
    """Whether `frozen_logps` serves a model: a bare one on a CPU whose logits are a matrix product."""
    from knowtuning.training.head import is_plain

    return hasattr(model, "base_model") and model.device.type == "cpu" and is_plain(model)


def add_head(model: Any) -> None:
    """Give a model, with an adapter or without, TRL's fused head where `frozen_logps` does not serve it.

    The fused head makes the model's own call return log-probabilities, whatever wraps the model.
    """
    bare = bare_model(model)
    if not has_frozen_head(bare):
        from trl.trainer.utils import add_fused_lm_head

        add_fused_lm_head(bare)


def token_logps(model: Any, input_ids: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """log p of each label given all tokens before it, (batch, seq - 1), nats; 0 where it is IGNORED.

    input_ids and labels: (batch, seq), padded on the right, where no mask is needed. model: a causal language
    model that has been through `add_head`, with or without an adapter and what Accelerate wraps around it. No
    more than a tile of the logits is held.
    """
    bare = bare_model(model)
    if has_frozen_head(bare):
        states = bare.base_model(input_ids=input_ids, use_cache=False).last_hidden_state[:, :-1]
        return _spread(bare, states, labels[:, 1:])
    fused: torch.Tensor = model(
        input_ids=input_ids, labels=labels, use_cache=False, fused_lm_head=True
    ).log_probs
    return fused


def _spread(model: Any, states: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """log p of each target, (batch, seq), 0 where it is IGNORED; states: (batch, seq, hidden)."""
    from knowtuning.training.head import frozen_logps

    counted = targets != IGNORED
    logps = frozen_logps(model.get_output_embeddings().weight, states[counted], targets[counted])
    return logps.new_zeros(counted.shape).masked_scatter(counted, logps)


def completion_token_logps(
    model: Any, pairs: Sequence[tuple[Tokens, Tokens]], budget: int, title: str = ""
) -> list[torch.Tensor]:
    """Log-probability of each token of each completion given its prompt, (tokens,), nats, on the CPU.

    budget: tokens of a pass at most. title: of a progress bar, which shows after some seconds; none without
    it.
    """
    import torch
    from tqdm import tqdm

    if model.device.type == "cpu":
        budget = min(budget, _STATES // model.config.get_text_config().hidden_size)
    logps: dict[int, torch.Tensor] = {}
    bar = tqdm(desc=title, total=len(pairs), unit="text", delay=3, disable=not title)
    for batch in by_length([len(prompt) + len(completion) for prompt, completion in pairs], budget):
        rows = [pairs[index] for index in batch]
        inputs = {name: ids.to(model.device) for name, ids in padded(rows, 0).items()}
        with torch.no_grad():
            values = token_logps(model, inputs["input_ids"], inputs["labels"]).cpu()
        for index, (prompt, completion), row in zip(batch, rows, values, strict=True):
            logps[index] = row[len(prompt) - 1 :][: len(completion)].clone()
        bar.update(len(batch))
    bar.close()
    return [logps[index] for index in range(len(pairs))]


def completion_logps(
    model: Any, pairs: Sequence[tuple[Tokens, Tokens]], budget: int, title: str = ""
) -> list[float]:
    """Log-probability of each completion given its prompt, nats, summed over its tokens; see above."""
    return [values.double().sum().item() for values in completion_token_logps(model, pairs, budget, title)]


@dataclass(frozen=True)
class Question:
    """A prompt with the facts to be scored behind it, as token ids; at least one each."""

    prompt: list[int]
    facts: list[list[int]]

    @property
    def tokens(self) -> int:
        """Tokens of the prompt and of all facts."""
        return len(self.prompt) + sum(map(len, self.facts))


def question_batches(questions: Sequence[Question], budget: int) -> list[list[int]]:
    """Indices of questions that are scored together: neighbours in length of prompt, `budget` tokens."""
    batches: list[list[int]] = []
    size = budget
    for index in sorted(range(len(questions)), key=lambda index: (len(questions[index].prompt), index)):
        size += questions[index].tokens
        if size > budget:
            batches.append([])
            size = questions[index].tokens
        batches[-1].append(index)
    return batches


def fact_logps(model: Any, questions: Sequence[Question], budget: int) -> list[list[float]]:
    """Summed log-probability of each fact given the prompt of its question, nats.

    Prompts are read once, together, and their keys and values are repeated for the facts. Models that cannot
    do so (`prefix_limit`) read each fact behind a prompt of its own.
    """
    import torch

    longest = max(len(item.prompt) for item in questions) + max(
        len(fact) for item in questions for fact in item.facts
    )
    with torch.inference_mode():
        if longest > prefix_limit(model):
            pairs = [(item.prompt, fact) for item in questions for fact in item.facts]
            values = iter(completion_logps(model, pairs, budget))
        else:
            values = iter(_behind_shared_prompts(model, questions, budget))
    return [[next(values) for _ in item.facts] for item in questions]


def _behind_shared_prompts(model: Any, questions: Sequence[Question], budget: int) -> list[float]:
    """The sum of each fact, question by question."""
    # The last token of a prompt opens each fact, so that the first token of the fact is predicted there.
    prefixes = [item.prompt[:-1] for item in questions]
    width = max(map(len, prefixes))
    # Keys and values of each layer, (prefixes, heads, longest, width).
    layers: list[tuple[torch.Tensor, torch.Tensor]] = []
    if width:
        ids = right_padded(prefixes, 0).to(model.device)
        cache = model.base_model(input_ids=ids, use_cache=True).past_key_values
        layers = [(layer.keys, layer.values) for layer in cache.layers]
    facts = [(number, fact) for number, item in enumerate(questions) for fact in item.facts]
    sums = [0.0] * len(facts)
    budget = min(2 * budget, cache_tokens(model) // 2)
    for chunk in _chunks([len(fact) for _, fact in facts], width, budget):
        owners = [facts[index][0] for index in chunk]
        rows = [[questions[facts[index][0]].prompt[-1], *facts[index][1]] for index in chunk]
        values = _suffix_logps(model, rows, layers, owners, [len(prefixes[number]) for number in owners])
        for index, value in zip(chunk, values.tolist(), strict=True):
            sums[index] = value
    return sums


def _suffix_logps(
    model: Any,
    rows: Sequence[Tokens],
    layers: Sequence[tuple[torch.Tensor, torch.Tensor]],
    owners: Sequence[int],
    lengths: Sequence[int],
) -> torch.Tensor:
    """Summed log-probability of each row but its first token, (rows,), float64.

    Row i stands behind the first lengths[i] tokens of prefix owners[i], whose keys and values are in
    `layers`.
    """
    import torch
    from transformers import DynamicCache

    device = model.device
    index, starts = (torch.tensor(values, device=device) for values in (owners, lengths))
    cache, width = DynamicCache(config=model.config), 0
    for number, (keys, values) in enumerate(layers):
        cache.update(keys.index_select(0, index), values.index_select(0, index), number)
        width = keys.shape[2]
    ids = right_padded([row[:-1] for row in rows], 0).to(device)
    targets = right_padded([row[1:] for row in rows], IGNORED).to(device)
    counted = targets != IGNORED
    prefix = torch.arange(width, device=device) < starts[:, None]
    inputs: Mapping[str, Any] = {
        "input_ids": ids,
        "attention_mask": torch.cat([prefix, counted], dim=1).long(),
        "position_ids": starts[:, None] + torch.arange(ids.shape[1], device=device),
        "past_key_values": cache,
    }
    if has_frozen_head(model):
        logps = _spread(model, model.base_model(**inputs, use_cache=True).last_hidden_state, targets)
    else:
        logps = model(**inputs, shift_labels=targets, fused_lm_head=True).log_probs
    return logps.double().sum(dim=1)


def _chunks(lengths: Sequence[int], prefix: int, budget: int) -> Iterator[list[int]]:
    """Facts of like length together, `budget` tokens at most, those of their repeated prefixes included."""
    chunk: list[int] = []
    tokens = 0
    for index in sorted(range(len(lengths)), key=lambda index: (lengths[index], index)):
        length = lengths[index]
        rows = len(chunk) + 1
        if chunk and (
            rows * length > _PADDING * (tokens + length) + _SLACK or rows * (prefix + length) > budget
        ):
            yield chunk
            chunk, tokens = [], 0
        chunk.append(index)
        tokens += length
    yield chunk
