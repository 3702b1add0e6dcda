"""Decoding on a GPU with a recorded step.

A step of a decoder starts a thousand kernels, which takes several times as long as they run. A CUDA graph
starts them all at once: keys and values, mask and positions keep their addresses in memory and advance there.
On an H100 that is 2.0 times as fast as `generate` with a 7B model and 96 answers, 3.8 times with 135M and 300
answers, and 2.8 and 14 times as fast as its continuous batching without flash-attention.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from transformers import StaticCache

# Steps after which the device is asked whether all rows have ended.
CHECK = 32


def decode(
    model: Any,
    ids: torch.Tensor,
    mask: torch.Tensor,
    *,
    limit: int,
    ends: Sequence[int],
    processors: Callable[..., torch.Tensor],
) -> torch.Tensor:
    """New tokens, (rows, at most `limit`); what follows a token of `ends` in a row means nothing.

    ids, mask: (rows, width), prompts padded on the left. Of the logits that the processors make of a step's
    the largest is taken. On a CPU the step is not recorded.
    """
    rows, width = ids.shape
    cache = StaticCache(config=model.config, max_cache_len=width + limit)
    seen = torch.nn.functional.pad(mask.bool(), (0, limit))[:, None, None]
    positions = (mask.cumsum(dim=1) - 1).clamp(min=0)
    token, position = ids[:, -1:].clone(), positions[:, -1:].clone()
    column, stops = (torch.tensor(values, device=ids.device) for values in ([width], list(ends)))

    def step() -> torch.Tensor:
        seen.index_fill_(-1, column, True)
        column.add_(1)
        position.add_(1)
        logits: torch.Tensor = model(
            input_ids=token, attention_mask=seen, position_ids=position, past_key_values=cache
        ).logits[:, -1]
        return logits

    with torch.inference_mode():
        logits = model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            logits_to_keep=1,
        ).logits[:, -1]
        answers, ended = list[torch.Tensor](), torch.zeros(rows, dtype=torch.bool, device=ids.device)
        forward = _Recorded(step) if ids.is_cuda else step
        for count in range(1, limit + 1):
            chosen = processors(token, logits).argmax(dim=-1)
            answers.append(chosen)
            ended |= torch.isin(chosen, stops)
            if count == limit or (count % CHECK == 0 and bool(ended.all())):
                break
            token.copy_(chosen[:, None])
            logits = forward()
    return torch.stack(answers, dim=1)


class _Recorded:
    """A function without arguments: run once, recorded at its second call, replayed from then on."""

    def __init__(self, function: Callable[[], torch.Tensor]) -> None:
        self._function = function
        self._stream: Any = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        self._graph: torch.cuda.CUDAGraph | None = None
        self._warm = False

    def __call__(self) -> torch.Tensor:
        if not self._warm:
            # Libraries take their memory at the first call, which no recording may.
            self._warm = True
            self._stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(self._stream):
                result = self._function()
            torch.cuda.current_stream().wait_stream(self._stream)
            return result
        if self._graph is None:
            self._graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self._graph):
                self._result = self._function()
        self._graph.replay()
        return self._result
