"""Answers of a system: greedy or sampled, by the loaded model or by a vLLM server (vllm.py)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from knowtuning.core.records import Example, Prediction
from knowtuning.core.storage import digest
from knowtuning.model.batches import by_length
from knowtuning.model.hardware import Hardware
from knowtuning.model.load import load_system
from knowtuning.model.memory import cache_tokens, prefix_limit
from knowtuning.model.prompt import Formatter
from knowtuning.model.resume import Journal

if TYPE_CHECKING:
    import torch

    from knowtuning.config.predict import PredictParams, SampleParams

Tokens = list[int]
# Answers that are computed together at most: what a killed run loses, and what another process can take over.
_MOST = {"cpu": 64, "cuda": 512}
# New tokens after which answers that have ended leave the batch.
_CHUNK = 32


@dataclass(frozen=True)
class Decoding:
    """How tokens are chosen. temperature 0: the most probable one, whatever top_p and top_k are.

    top_p: share of probability that the tokens drawn from hold at least. top_k: how many those are at most;
    0: no limit. samples: answers a prompt. Each sample has a seed of its own, so that no other changes it.
    """

    max_new_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    samples: int = 1
    seed: int = 0

    @classmethod
    def of(cls, section: PredictParams | SampleParams, seed: int, samples: int = 1) -> Decoding:
        """As a section of params.yaml says."""
        top_k = section.top_k or 0
        return cls(section.max_new_tokens, section.temperature, section.top_p, top_k, samples, seed)


@dataclass(frozen=True)
class Job:
    """One answer to compute: prompt (token ids), and the seed of its draws."""

    prompt: Tokens
    seed: int


class Backend(Protocol):
    """Continues prompts until a token that ends an answer, or the limit."""

    def plan(self, jobs: Sequence[Job]) -> list[list[int]]:
        """Indices of all jobs, those together whose answers come together."""

    def answers(self, work: Mapping[str, Sequence[Job]]) -> Iterator[tuple[str, list[Tokens]]]:
        """The key of each part of the plan with the answers to its jobs, as they come.

        An answer is without the token that ended it; one that did not end has `max_new_tokens` tokens.
        """


def generate(
    prompts: Mapping[str, Tokens],
    backend: Backend,
    decoding: Decoding,
    journal: Journal | None = None,
    *,
    heading: str = "predict",
) -> dict[str, list[Tokens]]:
    """`decoding.samples` answers (token ids) to the prompt of each id.

    What the backend has finished is noted in the journal, and not computed where an earlier run has noted it.
    heading: of the progress bar.
    """
    from tqdm import tqdm

    journal = journal or Journal()
    names = [(name, sample) for name in prompts for sample in range(decoding.samples)]
    seeds = (int(digest(decoding.seed, "sample", *each)[:12], 16) for each in names)
    jobs = [Job(prompts[name], seed) for (name, _), seed in zip(names, seeds, strict=True)]
    parts = {str(part[0]): part for part in backend.plan(jobs)}
    work = {key: [jobs[index] for index in parts[key]] for key in journal.todo(list(parts))}
    finished = len(jobs) - sum(map(len, work.values()))
    with tqdm(desc=heading, total=len(jobs), unit="answer", initial=finished) as bar:
        for key, answers in backend.answers(work):
            journal.put(key, answers)
            bar.update(len(answers))
    done = journal.exchange()
    samples: dict[str, list[Tokens]] = {name: [[] for _ in range(decoding.samples)] for name in prompts}
    for key, part in parts.items():
        for index, answer in zip(part, done[key], strict=True):
            name, sample = names[index]
            samples[name][sample] = answer
    return samples


def prompts_of(
    examples: Sequence[Example],
    formatter: Formatter,
    max_new_tokens: int,
    context: int | None,
    *,
    section: str = "predict",
) -> dict[str, Tokens]:
    """The prompt of each example by its id; section: of params.yaml, where the limit stands.

    Raises ValueError for one that leaves no room for its answer in the `context` that the model takes
    (tokens).
    """
    prompts = {example.id: formatter.prompt(example.question) for example in examples}
    for name, prompt in prompts.items():
        if context is not None and len(prompt) + max_new_tokens > context:
            raise ValueError(
                f"{name}: its prompt has {len(prompt)} tokens, and {max_new_tokens} new ones make more than "
                f"the {context} that the model takes; shorten the question or lower {section}.max_new_tokens"
            )
    return prompts


def predictions(
    examples: Sequence[Example],
    answers: Mapping[str, Sequence[Tokens]],
    formatter: Formatter,
    decoding: Decoding,
) -> list[Prediction]:
    """The first answer to each example as a record, in the order of `examples`; answers: see `generate`.

    Deviation: the released scripts' framework samples (T 0.95, top-p 0.7, top-k 50); greedy answers, the
    default, are comparable from run to run.
    """
    return [
        Prediction(
            id=example.id,
            question=example.question,
            answer=formatter.decode(tokens),
            tokens=len(tokens),
            truncated=len(tokens) == decoding.max_new_tokens,
        )
        for example in examples
        for tokens in answers[example.id][:1]
    ]


def until(ends: Sequence[int], tokens: Sequence[int]) -> Tokens:
    """The tokens before the first that ends an answer; all where there is none."""
    stop = next((index for index, token in enumerate(tokens) if token in ends), len(tokens))
    return list(tokens[:stop])


def load_backend(
    base: Path, adapter: Path | None, formatter: Formatter, decoding: Decoding, hardware: Hardware
) -> ModelBackend:
    """A system in this process; adapter: its LoRA adapter, None for the base model."""
    model = load_system(base, adapter, dtype=hardware.weights_dtype, device=hardware.device)
    padding = int(formatter.tokenizer.pad_token_id)
    return ModelBackend(model, decoding, formatter.ends, padding, batch_tokens=hardware.batch_tokens)


class ModelBackend:
    """A loaded model, by `generate` of transformers, in batches of prompts of like length.

    ends: tokens that end an answer. batch_tokens: tokens a batch may have when its answers are full; None: as
    many as fit.
    """

    def __init__(
        self,
        model: Any,
        decoding: Decoding,
        ends: Sequence[int],
        padding: int,
        *,
        batch_tokens: int | None = None,
    ) -> None:
        from transformers import GenerationConfig

        self._model, self._decoding, self._ends, self._padding = model, decoding, list(ends), padding
        self._batch_tokens = batch_tokens
        self.recorded = model.device.type == "cuda" and recordable(model)
        # That of the model may hold a penalty or another way to sample, which would change answers.
        model.generation_config = GenerationConfig(  # type: ignore[no-untyped-call]
            eos_token_id=self._ends, pad_token_id=padding, do_sample=False
        )

    def plan(self, jobs: Sequence[Job]) -> list[list[int]]:
        lengths = [len(job.prompt) + self._decoding.max_new_tokens for job in jobs]
        budget = self._batch_tokens or cache_tokens(self._model)
        return list(by_length(lengths, budget, most=_MOST.get(self._model.device.type, 64)))

    def answers(self, work: Mapping[str, Sequence[Job]]) -> Iterator[tuple[str, list[Tokens]]]:
        for key, jobs in work.items():
            yield key, self._batch(jobs)

    def _batch(self, jobs: Sequence[Job]) -> list[Tokens]:
        """Answers to prompts that are padded on the left."""
        import torch

        width, device = max(len(job.prompt) for job in jobs), self._model.device
        gaps = [width - len(job.prompt) for job in jobs]
        ids = torch.tensor([[self._padding] * gap + job.prompt for gap, job in zip(gaps, jobs, strict=True)])
        mask = (torch.arange(width) >= torch.tensor(gaps)[:, None]).long()
        draws = Draws([job.seed for job in jobs], self._decoding, device)
        ids, mask = ids.to(device), mask.to(device)
        if not self.recorded:
            return self._by_chunks(ids, mask, draws)
        from knowtuning.generation.graph import decode

        limit = self._decoding.max_new_tokens
        tokens = decode(self._model, ids, mask, limit=limit, ends=self._ends, processors=draws.processors)
        return [until(self._ends, row) for row in tokens.tolist()]

    def _by_chunks(self, ids: torch.Tensor, mask: torch.Tensor, draws: Draws) -> list[Tokens]:
        """By `generate`; answers that have ended leave after each chunk."""
        import torch
        from transformers import DynamicCache

        width, limit = ids.shape[1], self._decoding.max_new_tokens
        # Models with another state than a cache of keys and values take no part of their prompt again.
        stateful = getattr(self._model, "_is_stateful", False)
        cache = None if stateful else DynamicCache(config=self._model.config)
        going = list(range(len(ids)))
        answers: list[Tokens] = [[] for _ in going]
        while going:
            done = ids.shape[1] - width
            with torch.inference_mode():
                ids = self._model.generate(
                    input_ids=ids,
                    attention_mask=mask,
                    max_new_tokens=limit if stateful else min(_CHUNK, limit - done),
                    logits_processor=draws.processors,
                    **({} if cache is None else {"past_key_values": cache}),
                )
            for job, tokens in zip(going, ids[:, width:].tolist(), strict=True):
                answers[job] = until(self._ends, tokens)
            full = ids.shape[1] - width
            rows = [row for row, job in enumerate(going) if len(answers[job]) == full < limit]
            if not rows or cache is None:
                break
            index = torch.tensor(rows, device=ids.device)
            ids, mask = ids[index], torch.nn.functional.pad(mask[index], (0, full - done), value=1)
            cache.batch_select_indices(index)
            draws.keep(rows)
            going = [going[row] for row in rows]
        return answers


def recordable(model: Any) -> bool:
    """Whether a step of decoding can be recorded (graph.py): nothing but keys and values, all of them kept.

    And a forward pass that asks the device nothing, which transformers says of a model.
    """
    plain = prefix_limit(model) == float("inf")
    return plain and bool(model._can_compile_fullgraph) and not getattr(model, "is_quantized", False)


class Draws:
    """Chooses tokens by draws of each row's own: the largest logit with Gumbel noise is a sample of softmax.

    A row's noise depends on its seed and step alone, so that no other row changes it.
    """

    def __init__(self, seeds: Sequence[int], decoding: Decoding, device: torch.device) -> None:
        import torch
        from transformers import (
            LogitsProcessorList,
            TemperatureLogitsWarper,
            TopKLogitsWarper,
            TopPLogitsWarper,
        )

        self.processors = LogitsProcessorList()
        self._generators = [torch.Generator(device).manual_seed(seed) for seed in seeds]
        if decoding.temperature:
            self.processors.append(TemperatureLogitsWarper(decoding.temperature))
            if decoding.top_k:
                self.processors.append(TopKLogitsWarper(decoding.top_k))
            if decoding.top_p < 1:
                self.processors.append(TopPLogitsWarper(decoding.top_p))
            self.processors.append(self._with_noise)

    def keep(self, rows: Sequence[int]) -> None:
        """Drop the generators of all other rows."""
        self._generators = [self._generators[row] for row in rows]

    def _with_noise(self, _: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        import torch

        noise = torch.empty_like(scores, dtype=torch.float32)
        for row, generator in zip(noise, self._generators, strict=True):
            row.exponential_(generator=generator)
        return scores.float() - noise.log()
